//! What web frameworks ask of the handle: the answers of `/health` and `/healthz`, and the events
//! of a request meter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{CheckAnswer, Jarvis};
use crate::web::{HealthDocument, Liveness, RequestMeter, WebAnswer};
use base::clock::Monotonic;
use base::events::Event;
use base::sync::Mutex;
use base::vocabulary::ServiceId;
use base::{Error, ErrorKind, Result};

/// A round of probes that is over, and until when it holds.
#[derive(Debug, Clone)]
struct Ended {
    until: Monotonic,
    answer: Result<Arc<CheckAnswer>>,
}

/// Rounds of probes that everybody who asks shares: by what they probe. `None` while one runs.
#[derive(Debug, Default)]
pub(super) struct SharedRounds(Mutex<HashMap<Vec<ServiceId>, watch::Receiver<Option<Ended>>>>);

impl Jarvis {
    /// What `GET /health` answers: the [`HealthDocument`] of these services, or of all.
    ///
    /// Where this handle [runs](Self::run) and no service is named, it is what the loop knows.
    /// Otherwise the services are probed: one round for all who ask while it runs, and for
    /// `max_age` after it, so that nobody can make this process probe without end. A round goes on
    /// when its callers are gone. Needs a tokio runtime.
    ///
    /// # Errors
    /// Those of [`check`](Self::check). An error is for those who waited: the next call probes
    /// again.
    pub async fn health_answer(
        &self,
        services: &[ServiceId],
        max_age: Duration,
    ) -> Result<WebAnswer> {
        let health = &self.inner.health;
        let document = if services.is_empty() && health.loop_stats().running {
            let states = health.readings().into_iter().map(|one| (one.service, one.state));
            HealthDocument::new(health.platform(), states)
        } else {
            let round = self.shared_round(services, max_age).await?;
            let states = round.services.iter().map(|one| (one.service.clone(), one.state));
            HealthDocument::new(round.platform.clone(), states)
        };
        Ok(document.answer())
    }

    async fn shared_round(
        &self,
        services: &[ServiceId],
        max_age: Duration,
    ) -> Result<Arc<CheckAnswer>> {
        let mut round = {
            let mut rounds = self.inner.rounds.0.lock();
            let now = self.inner.clock.monotonic();
            rounds.retain(|_, round| {
                let is_lost = round.has_changed().is_err() && round.borrow().is_none();
                !is_lost && round.borrow().as_ref().is_none_or(|ended| now < ended.until)
            });
            match rounds.get(services) {
                Some(round) => round.clone(),
                None => {
                    let round = self.begin_round(services, max_age);
                    rounds.insert(services.to_vec(), round.clone());
                    round
                }
            }
        };
        let ended = round.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.map_or_else(|| Err(cut_short()), |ended| ended.answer)
    }

    fn begin_round(
        &self,
        services: &[ServiceId],
        max_age: Duration,
    ) -> watch::Receiver<Option<Ended>> {
        let (end, round) = watch::channel(None);
        let (jarvis, services) = (self.clone(), services.to_vec());
        // A task of its own: who asked first may go away, and the others still want to know.
        tokio::spawn(async move {
            let answer = jarvis.check(&services).await.map(Arc::new);
            let now = jarvis.inner.clock.monotonic();
            let until = if answer.is_ok() { now + max_age } else { now };
            end.send_replace(Some(Ended { until, answer }));
        });
        round
    }

    /// What `GET /healthz` answers: whether this process should be restarted.
    ///
    /// A handle that does not supervise is alive. One on which [`run`](Self::run) was called is alive
    /// while its loop runs and is not late.
    #[must_use]
    pub fn liveness_answer(&self) -> WebAnswer {
        let healthz = self.healthz();
        Liveness::new(self.supervises(), healthz.alive, &healthz.reason).answer()
    }

    /// Publishes the events of a request meter on the bus. `false` when there was nothing to tell.
    ///
    /// # Errors
    /// Those of the bus, after every event was tried. What the bus did not take is not told again;
    /// the totals of the meter still have it.
    pub async fn publish_requests(&self, meter: &RequestMeter) -> Result<bool> {
        let bus = self.bus();
        let events = meter.take(self.inner.clock.wall());
        let is_told = !events.is_empty();
        let mut failed = None;
        for event in events {
            if let Err(error) = bus.publish(Event::Message(event)).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(is_told), Err)
    }
}

fn cut_short() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the probe round was interrupted: the runtime is shutting down",
    )
    .with_operation("health.answer")
}

#[cfg(test)]
mod tests {
    use base::clock::{Clock, ManualClock};
    use base::events::{Delivery, Filter};
    use base::vocabulary::{CheckName, FailureKind};
    use futures_util::future::join_all;
    use supervision::health::aggregator::{CheckSpec, ServiceSpec};
    use supervision::health::memory::MemoryProbe;
    use supervision::operator::ManagedService;
    use supervision::restart::Leaving;

    use super::*;
    use crate::config::Source;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened(probe: &MemoryProbe, clock: &ManualClock) -> Jarvis {
        let id = ServiceId::new("db").unwrap();
        let check = CheckSpec::new(CheckName::new("probe").unwrap(), Arc::new(probe.clone()));
        let folder = tempfile::tempdir().unwrap();
        let source = Source::empty()
            .with_text("")
            .with_variable("JARVIS_JARVIS__STATE_DIR", folder.path().display().to_string());
        Jarvis::builder()
            .with_source(source)
            .with_clock(clock.clone())
            .with_service(ServiceSpec::new(id.clone(), vec![check]), ManagedService::new(id))
            .open()
            .unwrap()
    }

    #[tokio::test]
    async fn a_round_is_shared_and_holds_for_a_while() {
        let (probe, clock) = (MemoryProbe::passing(), ManualClock::new());
        let jarvis = opened(&probe, &clock);
        let answers = join_all((0..20).map(|_| jarvis.health_answer(&[], SECOND))).await;
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.body.contains(r#"[{"service":"db","state":"healthy"}]"#), "{answer:?}");
        }
        assert_eq!(probe.calls().len(), 1);
        probe.say(supervision::health::Observation::fail(FailureKind::Refused, "down"));
        assert_eq!(jarvis.health_answer(&[], SECOND).await.unwrap().status, 200);
        clock.advance(SECOND);
        assert_eq!(jarvis.health_answer(&[], SECOND).await.unwrap().status, 503);
        assert_eq!(probe.calls().len(), 2);
        let unknown = [ServiceId::new("bd").unwrap()];
        let error = jarvis.health_answer(&unknown, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_round_goes_on_when_who_asked_first_is_gone() {
        let (probe, clock) = (MemoryProbe::passing(), ManualClock::new());
        let jarvis = opened(&probe, &clock);
        for _ in 0..5 {
            let mut asked = Box::pin(jarvis.health_answer(&[], SECOND));
            assert!(futures_util::poll!(&mut asked).is_pending());
        }
        assert_eq!(jarvis.health_answer(&[], SECOND).await.unwrap().status, 200);
        assert_eq!(probe.calls().len(), 1);
    }

    #[tokio::test]
    async fn only_a_handle_that_should_supervise_can_be_dead() {
        let (probe, clock) = (MemoryProbe::passing(), ManualClock::new());
        let jarvis = opened(&probe, &clock);
        assert_eq!(jarvis.liveness_answer().body, r#"{"alive":true}"#);
        jarvis.inner.supervises.store(true, std::sync::atomic::Ordering::Release);
        let dead = jarvis.liveness_answer();
        assert_eq!(dead.status, 503);
        assert!(dead.body.contains("is not running"), "{dead:?}");
        let (alive, supervised) = (jarvis.clone(), jarvis.clone());
        jarvis
            .run(async move {
                assert!(supervised.supervises());
                Leaving::Terminated
            })
            .await
            .unwrap();
        assert!(!alive.supervises());
        assert_eq!(alive.liveness_answer().status, 200);
    }

    #[tokio::test]
    async fn requests_are_published_until_nothing_is_left_to_tell() {
        let clock = ManualClock::new();
        let jarvis = opened(&MemoryProbe::passing(), &clock);
        let mut events = jarvis.bus().subscribe(Filter::all()).await.unwrap();
        let meter = RequestMeter::of_service("coach", clock.wall()).unwrap();
        assert!(!jarvis.publish_requests(&meter).await.unwrap());
        meter.begin();
        meter.end("GET", Some("/"), 200, SECOND);
        assert!(jarvis.publish_requests(&meter).await.unwrap());
        assert!(!jarvis.publish_requests(&meter).await.unwrap());
        let Some(Delivery::Event(envelope)) = events.next().await else { panic!("an event") };
        assert_eq!(envelope.event.topic().as_str(), "requests.coach");
    }
}
