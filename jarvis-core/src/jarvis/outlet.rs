//! Where the operator's events go: first durably to the alerts, then to everybody on the bus.

use std::sync::Arc;

use async_trait::async_trait;

use base::Result;
use base::events::{Event, EventBus};
use base::vocabulary::Severity;
use supervision::alert::Alerter;
use supervision::operator::Outlet;

#[derive(Debug)]
pub(super) struct Announcer {
    pub(super) alerts: Alerter,
    pub(super) bus: Arc<dyn EventBus>,
}

#[async_trait]
impl Outlet for Announcer {
    async fn announce(&self, event: &Event) -> Result<()> {
        // Where the lease can't even be asked for, nobody else may be there to call a person: two
        // calls are better than none.
        if matches!(event, Event::OperatorTrouble { severity: Severity::Critical, .. }) {
            self.alerts.activate().await?;
        }
        self.alerts.accept(event).await?;
        self.bus.publish(event.clone()).await.map(drop)
    }
}
