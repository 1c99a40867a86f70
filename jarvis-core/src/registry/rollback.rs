//! `[service.X.rollback] command = […]`: a command of yours goes back, whatever restarts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Result;
use crate::restart::command::CommandRestarter;
use crate::restart::{ActionRequest, InstanceEvents, Receipt, Running, ServiceRestarter};
use crate::vocabulary::VersionId;

/// Restarts through one restarter and rolls back through a command.
#[derive(Debug)]
pub(super) struct RollbackByCommand {
    pub(super) restarter: Arc<dyn ServiceRestarter>,
    pub(super) command: CommandRestarter,
}

#[async_trait]
impl ServiceRestarter for RollbackByCommand {
    async fn observe(&self) -> Result<Running> {
        self.restarter.observe().await
    }

    async fn restart(&self, request: ActionRequest) -> Result<Receipt> {
        self.restarter.restart(request).await
    }

    async fn start(&self, request: ActionRequest) -> Result<Receipt> {
        self.restarter.start(request).await
    }

    async fn stop(&self, request: ActionRequest) -> Result<Receipt> {
        self.restarter.stop(request).await
    }

    async fn roll_back(&self, request: ActionRequest, to: VersionId) -> Result<Receipt> {
        self.command.roll_back(request, to).await
    }

    async fn settle_roll_back(&self, keep: bool) -> Result<()> {
        self.command.settle_roll_back(keep).await
    }

    async fn watch(&self) -> Result<InstanceEvents> {
        self.restarter.watch().await
    }

    async fn last_log_lines(&self, lines: usize) -> Result<Vec<String>> {
        self.restarter.last_log_lines(lines).await
    }
}
