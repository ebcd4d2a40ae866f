//! What is answered without asking anybody: ANY, and the CHAOS class.

use tokio::time::Instant;

use super::{Handler, Pass, micros_since};
use crate::core::decision::{Decision, Denial, Permit};
use crate::core::event::{Event, Report, Subject};
use crate::core::query::{Client, Query, RecordKind};
use crate::core::screen::Encoded;
use crate::core::time::{Ttl, WallTime};
use crate::dns::answer::{self, Rcode, Reply};
use crate::dns::request::Request;

const TYPE_TXT: u16 = 16;

impl<G: Pass, R: Report> Handler<G, R> {
    /// What the policy says of ANY: a permit of connections will do as well.
    pub(super) fn decide_any(&self, query: &Query, now: WallTime) -> Result<Permit, Denial> {
        let denial = match self.gate.decide(query, now) {
            Decision::Permit(permit) => return Ok(permit),
            Decision::Deny(denial) => denial,
        };
        let addresses = Query { kind: RecordKind::A, ..query.clone() };
        match self.gate.decide(&addresses, now) {
            Decision::Permit(permit) => Ok(permit),
            Decision::Deny(_) => Err(denial),
        }
    }

    /// ANY is answered with as little as RFC 8482 allows, and never asked
    /// upstream: it would fetch addresses that nobody opens.
    pub(super) fn any(
        &self,
        request: &Request<'_>,
        reply: Reply<'_>,
        subject: Subject,
        permit: Permit,
        started: Instant,
    ) -> Vec<u8> {
        let Permit { policies, would_deny, .. } = permit;
        let wire = self.local(reply, answer::minimal_any(request));
        let subject = self.marked(subject, would_deny.as_ref());
        self.report.report(Event::QueryEmpty {
            subject,
            policies,
            no_such_name: false,
            micros: micros_since(started),
            would_deny,
        });
        wire
    }

    /// The CHAOS class: what the wall says about itself.
    pub(super) fn chaos(&self, request: &Request<'_>, reply: Reply<'_>, client: Client) -> Vec<u8> {
        let name = request.canonical_name();
        let name = name.as_ref().map(|name| name.as_str()).unwrap_or_default();
        match (name, request.kind) {
            ("version.cedarwall", TYPE_TXT) => self.local(reply, answer::text(request, env!("CARGO_PKG_VERSION"))),
            ("denied.cedarwall", TYPE_TXT) => {
                self.tell_repeats();
                let count = (self.hooks.denials)(client);
                self.local(reply, answer::text(request, &count.to_string()))
            }
            _ => reply.bare(Rcode::Refused, None),
        }
    }

    fn local<E>(&self, reply: Reply<'_>, encoded: Result<Encoded, E>) -> Vec<u8> {
        match encoded {
            Ok(encoded) => reply.with(&encoded, Ttl::ZERO, Rcode::NoError, None),
            Err(_) => reply.bare(Rcode::ServFail, None),
        }
    }
}
