//! How the outcome of an exchange becomes an observation.

use super::{Observation, ProbeContext};
use base::clock::SharedClock;
use base::net::timing::{Meter, ProbeError, Stage, Step};
use base::units::format_duration;
use base::vocabulary::FailureKind;
use base::{Error, ErrorKind, Result};

/// Starts to watch the time of one probe.
pub(crate) fn start(context: &ProbeContext) -> Meter {
    Meter::start(SharedClock::clone(&context.clock), context.remaining())
}

/// The probe's answer: what it found, or what stopped it, or that its time was up (`None`).
pub(crate) fn finish(
    meter: &Meter,
    outcome: Option<Step<Observation>>,
    target: &str,
) -> Result<Observation> {
    let observation = match outcome {
        Some(Ok(observation)) => observation,
        Some(Err(ProbeError::Failed { kind, message })) => Observation::fail(kind, message),
        Some(Err(ProbeError::NotMeasured(error))) => return Err(error),
        None => late(meter, target)?,
    };
    let latency = meter.elapsed();
    Ok(observation.with_latency(latency).with_phases(meter.phases))
}

fn late(meter: &Meter, target: &str) -> Result<Observation> {
    let within = format_duration(meter.allowed());
    let (kind, what) = match meter.stage {
        Stage::Queue => {
            return Err(Error::new(
                ErrorKind::Exhausted,
                "too many name lookups hang; check the resolver of this machine",
            ));
        }
        Stage::Dns => (FailureKind::Dns, "the name did not resolve"),
        Stage::Connect => (FailureKind::Timeout, "no connection"),
        Stage::Tls => (FailureKind::Timeout, "the TLS handshake did not finish"),
        Stage::Answer => (FailureKind::Timeout, "connected, but no answer"),
        #[cfg(feature = "http")]
        Stage::Stream => (FailureKind::Timeout, "the stream stalled after its first token"),
        Stage::Rest => (FailureKind::Timeout, "the answer started but did not finish"),
    };
    Ok(Observation::fail(kind, format!("{target}: {what} within {within}")))
}
