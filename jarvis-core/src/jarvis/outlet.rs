//! Where the operator's events go: first durably to the alerts, then to everybody on the bus.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::alert::Alerter;
use crate::events::{Event, EventBus};
use crate::operator::Outlet;

#[derive(Debug)]
pub(super) struct Announcer {
    pub(super) alerts: Alerter,
    pub(super) bus: Arc<dyn EventBus>,
}

#[async_trait]
impl Outlet for Announcer {
    async fn announce(&self, event: &Event) -> Result<()> {
        self.alerts.accept(event).await?;
        self.bus.publish(event.clone()).await.map(drop)
    }
}
