//! What the operator says about itself.

use serde::{Deserialize, Serialize};

use crate::lease::Usage;
use base::clock::WallTime;
use base::vocabulary::{
    Cause, FencingToken, Hold, HolderId, IncidentId, InstanceId, Lifecycle, Mode, ServiceId,
    ServiceState, VersionId,
};

/// The operator and all its services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OperatorStatus {
    /// When this was asked.
    pub at: WallTime,
    /// What the configuration allows.
    pub mode: Mode,
    /// May an action be begun now?
    pub acting: bool,
    /// The gate that holds all services back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Our lease, while we hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseStatus>,
    /// Why we suspect ourselves, while we do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspected: Option<String>,
    /// The maintenance windows that people opened and that are open now, oldest first. Those of
    /// the configuration show at the services that they cover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<MaintenanceStatus>,
    /// The services by name.
    pub services: Vec<ServiceStatus>,
}

/// A maintenance window that somebody opened by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MaintenanceStatus {
    /// Identifies it in `jarvis maintenance delete`; never used twice.
    pub window: u64,
    /// Names or globs of services.
    pub services: Vec<String>,
    /// When it was opened.
    pub since: WallTime,
    /// When it closes by itself.
    pub until: WallTime,
    /// Who opened it.
    pub by: String,
    /// Why; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// A lease that we hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LeaseStatus {
    /// Us.
    pub holder: HolderId,
    /// Fences everybody before us.
    pub token: FencingToken,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// Its name.
    pub service: ServiceId,
    /// What its checks say.
    pub state: ServiceState,
    /// Where it stands in the loop, with the hold and its reason.
    pub lifecycle: Lifecycle,
    /// May it be restarted at all?
    pub restartable: bool,
    /// The open incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentStatus>,
    /// The restart budget, one entry a window; empty when the ledger can't be asked.
    #[serde(default)]
    pub budget: Vec<Usage>,
    /// The life that was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The version that was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// The last version that proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good_version: Option<VersionId>,
    /// Versions that were rolled back and will not be tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_versions: Vec<VersionId>,
    /// When the maintenance window that is open for it closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_until: Option<WallTime>,
    /// When something happens next by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<WallTime>,
}

/// An open incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct IncidentStatus {
    /// The incident.
    pub id: IncidentId,
    /// When it opened.
    pub opened_at: WallTime,
    /// What was seen.
    pub cause: Cause,
    /// A dependency that explains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because_of: Option<ServiceId>,
    /// How many counted actions were tried.
    pub attempts: u32,
    /// Was a person called?
    pub escalated: bool,
}
