//! Events as JSON, in the order in which a subscriber receives them.

use futures_util::stream::unfold;
use jarvis_core::Result;
use jarvis_core::events::{Delivery, Gap, Subscription};
use jarvis_core::jarvis::EventStream;

use crate::convert::json_text;
use crate::stream::Items;

/// What a subscription to the bus receives.
pub(crate) fn of_subscription(subscription: Box<dyn Subscription>) -> Items {
    Box::pin(unfold(subscription, |mut subscription| async move {
        let delivery = subscription.next().await?;
        Some((json(&delivery), subscription))
    }))
}

/// What the log of events gives.
pub(crate) fn of_log(log: EventStream) -> Items {
    Box::pin(unfold(log, |mut log| async move {
        let item = log.next().await?.and_then(|delivery| json(&delivery));
        Some((item, log))
    }))
}

/// An envelope, or a notice where events are missing.
fn json(delivery: &Delivery) -> Result<String> {
    let notice = match delivery {
        Delivery::Event(envelope) => return json_text(&**envelope),
        Delivery::Missed(count) => return Ok(format!(r#"{{"notice":"missed","count":{count}}}"#)),
        Delivery::Gap(Gap::StreamLost) => "stream_lost",
        Delivery::Gap(_) => "stream_rolled_back",
        Delivery::TooSlow => "too_slow",
        _ => "unknown",
    };
    Ok(format!(r#"{{"notice":"{notice}"}}"#))
}
