//! Which server is asked when: in order, the next one as soon as one fails or
//! has been silent for a moment, and the first good answer wins.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::server::Server;
use crate::core::decision::Failure;
use crate::core::screen::{Rules, Screened, screen};
use crate::gate::Question;

/// How long a server may be silent before the next is asked, too.
const HEDGE: Duration = Duration::from_millis(300);
/// How long between further tries after the first repetition.
const RETRY: Duration = Duration::from_secs(1);
/// How often each server is asked, at most.
const TRIES: usize = 3;

/// Asks `servers` until one gives a usable answer. Waits for as long as the
/// caller does where they are silent.
pub(super) async fn ask(servers: &[Arc<Server>], question: &Arc<Question>, rules: &Rules) -> Result<Screened, Failure> {
    let order = by_health(servers);
    let mut schedule = tries(&order).into_iter();
    let mut asked: Vec<(Arc<Server>, Instant)> = Vec::new();
    let mut failed: Vec<Arc<Server>> = Vec::new();
    let mut failure = Failure::UpstreamSilent;
    // All on the one task: another thread would have to be woken for each.
    let mut race = FuturesUnordered::new();
    loop {
        let next = schedule.find(|server| !failed.iter().any(|failed| Arc::ptr_eq(failed, server)));
        if let Some(server) = next {
            asked.push((Arc::clone(&server), Instant::now()));
            let question = Arc::clone(question);
            race.push(async move {
                let answered = server.ask(&question).await;
                (server, answered)
            });
        }
        let pause = if asked.len() <= order.len() { HEDGE } else { RETRY };
        let finished = tokio::select! {
            finished = race.next() => finished,
            () = sleep(pause) => continue,
        };
        let Some((server, answered)) = finished else {
            return Err(failure);
        };
        match answered.and_then(|response| screen(&question.name, question.kind, &response, rules)) {
            Ok(screened) => {
                blame_the_silent(&asked, &server);
                server.did_well();
                return Ok(screened);
            }
            Err(reason) => {
                server.did_badly();
                failure = reason;
                failed.push(server);
            }
        }
    }
}

/// The servers in their order, those that failed lately after the others.
fn by_health(servers: &[Arc<Server>]) -> Vec<Arc<Server>> {
    let mut order = servers.to_vec();
    order.sort_by_key(|server| server.is_in_disgrace());
    order
}

/// Every server once, then those again whose packets may have been lost.
fn tries(order: &[Arc<Server>]) -> Vec<Arc<Server>> {
    let again = || order.iter().filter(|server| server.may_lose_packets());
    order.iter().chain((1..TRIES).flat_map(|_| again())).cloned().collect()
}

fn blame_the_silent(asked: &[(Arc<Server>, Instant)], winner: &Arc<Server>) {
    for (server, since) in asked {
        if !Arc::ptr_eq(server, winner) && since.elapsed() >= HEDGE {
            server.did_badly();
        }
    }
}
