//! The answers to the routes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::events::Events;
use super::socket::ControlSocket;
use super::{
    DenialReport, Error, ExposureRow, House, HouseStatus, KernelCounts, LeaseRow, ReloadReport, RevokeReport,
    RevokeRequest, Status, TrafficRow,
};
use crate::journal::Journal;

/// How long a stopping server waits for requests it is still answering.
const GRACE: Duration = Duration::from_secs(1);
/// The content type of lines of JSON.
const NDJSON: &str = "application/x-ndjson";
/// The content type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl ControlSocket {
    /// Answers until `stop` comes; then finishes what it is answering, for a
    /// second at most, and removes the socket.
    ///
    /// # Errors
    /// When the server ends by itself.
    pub async fn serve<H: House>(
        self,
        house: Arc<H>,
        journal: Arc<Journal>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let (tell, told) = oneshot::channel::<()>();
        // Streams of events have no end of their own.
        let (stopping, stopped) = watch::channel(false);
        let routes = routes(Desk { house, journal, stopped });
        let server = axum::serve(self, routes).with_graceful_shutdown(async move {
            // Told, or nobody is left to tell: both mean stop.
            let _ = told.await;
        });
        let mut server = std::pin::pin!(server.into_future());
        tokio::select! {
            ended = &mut server => ended.map_err(Error::Serve)?,
            () = stop => {
                drop(stopping);
                drop(tell);
                if let Ok(ended) = timeout(GRACE, server).await {
                    ended.map_err(Error::Serve)?;
                }
            }
        }
        Ok(())
    }
}

struct Desk<H> {
    house: Arc<H>,
    journal: Arc<Journal>,
    stopped: watch::Receiver<bool>,
}

impl<H> Clone for Desk<H> {
    fn clone(&self) -> Self {
        let stopped = self.stopped.clone();
        Self { house: Arc::clone(&self.house), journal: Arc::clone(&self.journal), stopped }
    }
}

fn routes<H: House>(desk: Desk<H>) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(readyz::<H>))
        .route("/metrics", get(metrics::<H>))
        .route("/status", get(status::<H>))
        .route("/leases", get(leases::<H>))
        .route("/denials", get(denials::<H>))
        .route("/events", get(events::<H>))
        .route("/exposure", get(exposure::<H>))
        .route("/traffic", post(traffic::<H>))
        .route("/reload", post(reload::<H>))
        .route("/revoke", post(revoke::<H>))
        .with_state(desk)
}

async fn readyz<H: House>(State(desk): State<Desk<H>>) -> impl IntoResponse {
    if desk.house.is_ready() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn status<H: House>(State(desk): State<Desk<H>>) -> Json<Status> {
    desk.house.tell_repeats();
    Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: desk.house.is_ready(),
        house: desk.house.status().await,
        queries: desk.journal.queries(),
        undone: desk.journal.table(),
        journal_lost: desk.journal.lost(),
    })
}

async fn leases<H: House>(State(desk): State<Desk<H>>) -> Json<Vec<LeaseRow>> {
    Json(desk.house.leases().await)
}

async fn events<H: House>(State(desk): State<Desk<H>>) -> impl IntoResponse {
    let events = Events::of(desk.journal.stream(), desk.stopped);
    ([(header::CONTENT_TYPE, NDJSON)], Body::new(events))
}

async fn exposure<H: House>(State(desk): State<Desk<H>>) -> Json<Vec<ExposureRow>> {
    Json(desk.house.exposure().await)
}

async fn traffic<H: House>(State(desk): State<Desk<H>>) -> Json<Vec<TrafficRow>> {
    Json(desk.house.traffic().await)
}

async fn reload<H: House>(State(desk): State<Desk<H>>) -> Result<Json<ReloadReport>, (StatusCode, String)> {
    desk.house.reload().await.map(Json).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error))
}

async fn revoke<H: House>(
    State(desk): State<Desk<H>>,
    Json(request): Json<RevokeRequest>,
) -> Result<Json<RevokeReport>, (StatusCode, String)> {
    desk.house.revoke(request).await.map(Json).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))
}

async fn denials<H: House>(State(desk): State<Desk<H>>) -> Json<DenialReport> {
    let (KernelCounts { counters, refused }, kernel_error) = match desk.house.kernel().await {
        Ok(counts) => (counts, None),
        Err(error) => (KernelCounts::default(), Some(error)),
    };
    desk.house.tell_repeats();
    Json(DenialReport { denials: desk.journal.denials(), kernel: counters, refused, kernel_error })
}

async fn metrics<H: House>(State(desk): State<Desk<H>>) -> impl IntoResponse {
    let mut text = String::new();
    desk.house.tell_repeats();
    desk.journal.encode_metrics(&mut text);
    let mut registry = Registry::with_prefix("cedarwall");
    register_house(&mut registry, desk.house.as_ref()).await;
    // Writing to a String cannot fail.
    let _ = encode_registry(&mut text, &registry).and_then(|()| encode_eof(&mut text));
    ([(header::CONTENT_TYPE, OPENMETRICS)], text)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CounterLabels {
    counter: String,
}

/// What only the daemon and the kernel know. Where the kernel cannot be read
/// its metrics are absent, which says so; a zero would not.
async fn register_house<H: House>(registry: &mut Registry, house: &H) {
    let status = house.status().await;
    for (name, help, count) in [
        ("leases", "Live leases", status.leases),
        ("statics", "Addresses that the policy names itself, open without DNS", status.statics),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }

    register_reloads(registry, &status);
    register_exposure(registry, &house.exposure().await);

    let ready = Gauge::<i64>::default();
    ready.set(i64::from(house.is_ready()));
    registry.register("ready", "1 once the wall stands and questions are answered", ready);

    let Ok(counters) = house.counters().await else { return };
    let packets = Family::<CounterLabels, Counter>::default();
    let bytes = Family::<CounterLabels, Counter>::default();
    for counter in counters {
        let labels = CounterLabels { counter: counter.name };
        packets.get_or_create_owned(&labels).inc_by(counter.packets);
        bytes.get_or_create_owned(&labels).inc_by(counter.bytes);
    }
    registry.register("kernel_packets", "Packets by the nftables counter that counted them", packets);
    registry.register("kernel_bytes", "Octets by the nftables counter that counted them", bytes);
}

fn register_exposure(registry: &mut Registry, exposure: &[ExposureRow]) {
    let names = Family::<VerdictLabels, Gauge>::default();
    for (verdict, is_denied) in [("denied", true), ("permitted", false)] {
        let others = exposure.iter().flat_map(|row| &row.others);
        let count = others.filter(|other| other.denied == is_denied).count();
        names.get_or_create_owned(&VerdictLabels { verdict }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let help = "Other names known of open addresses, by what the policy says of them; each counts for each client";
    registry.register("exposed_names", help, names);
}

fn register_reloads(registry: &mut Registry, status: &HouseStatus) {
    let reloads = Family::<ResultLabels, Counter>::default();
    let totals = status.reloads;
    for (result, count) in [("loaded", totals.loaded), ("refused", totals.refused), ("unchanged", totals.unchanged)] {
        reloads.get_or_create_owned(&ResultLabels { result }).inc_by(count);
    }
    registry.register("reloads", "Attempts to read configuration and policy again, by how they ended", reloads);

    let success = Gauge::<i64>::default();
    success.set(i64::from(status.refused.is_none()));
    registry.register("reload_last_success", "1 unless the last attempt was refused", success);

    let Ok(loaded_at) = status.loaded_at.parse::<jiff::Timestamp>() else { return };
    let seconds = Gauge::<i64>::default();
    seconds.set(loaded_at.as_second());
    let help = "When configuration and policy were last put into force";
    registry.register_with_unit("reload_last_success_timestamp", help, Unit::Seconds, seconds);
}
