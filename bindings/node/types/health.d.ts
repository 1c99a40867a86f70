import { Json, Millis, Stream, Timestamp } from './common';

export type ServiceState = 'unknown' | 'healthy' | 'degraded' | 'down';

export type Verdict = 'pass' | 'warn' | 'fail' | 'unknown';

/** Why a check did not pass. */
export type FailureKind =
  | 'exited'
  | 'refused'
  | 'timeout'
  | 'reset'
  | 'protocol'
  | 'server_error'
  | 'body'
  | 'check'
  | 'dns'
  | 'unreachable'
  | 'tls'
  | 'auth'
  | 'client_error'
  | 'rate_limited'
  | 'slow'
  | 'resource'
  | 'not_ready'
  | 'missing'
  | 'internal';

/** The services as one. */
export interface Platform {
  readonly state: ServiceState;
  /** How many services are healthy; the others likewise. */
  readonly healthy: number;
  readonly degraded: number;
  readonly down: number;
  readonly unknown: number;
}

/** The check that decided the state of a service. */
export interface Cause {
  readonly check: string;
  /** Absent when the check passes again. */
  readonly kind?: FailureKind;
  readonly message: string;
}

/** What one probe measured. */
export interface CheckObservation {
  readonly verdict: Verdict;
  /** Absent when it passed. */
  readonly kind?: FailureKind;
  readonly message: string;
  readonly latencyMs: Millis;
  /** The parts of the latency, as far as the probe got. */
  readonly phases: {
    readonly dnsMs?: Millis;
    readonly connectMs?: Millis;
    readonly tlsMs?: Millis;
    readonly firstByteMs?: Millis;
  };
  /** The running instance that was seen, where the probe can tell. */
  readonly instance?: string;
  /** Names with values, as the probe gave them. */
  readonly facts?: readonly (readonly [name: string, value: Json])[];
}

export interface CheckResult {
  readonly check: string;
  /** True when the service needs this check. */
  readonly critical: boolean;
  readonly at: Timestamp;
  readonly observation: CheckObservation;
}

export interface ServiceCheck {
  readonly service: string;
  /** The state by this round alone: no threshold applies. */
  readonly state: ServiceState;
  /** True when the platform is down without it. */
  readonly critical: boolean;
  readonly checks: readonly CheckResult[];
}

/** One round of probes. */
export interface CheckAnswer {
  readonly at: Timestamp;
  readonly tookMs: Millis;
  readonly platform: Platform;
  readonly services: readonly ServiceCheck[];
}

export interface LatencyPercentiles {
  readonly p50Ms: Millis;
  readonly p95Ms: Millis;
  readonly p99Ms: Millis;
}

export interface CheckSnapshot {
  readonly check: string;
  readonly state: ServiceState;
  readonly critical: boolean;
  readonly everPassed: boolean;
  /** What the last probe said; empty before the first. */
  readonly message: string;
  readonly consecutiveFailures: number;
  readonly intervalMs: Millis;
  readonly latency?: LatencyPercentiles;
  readonly recent: readonly {
    readonly at: Timestamp;
    readonly verdict: Verdict;
    readonly kind?: FailureKind;
    readonly latencyMs: Millis;
  }[];
  readonly counters: {
    readonly probes: number;
    readonly failures: number;
    readonly unknowns: number;
    readonly overruns: number;
    readonly panics: number;
    readonly discarded: number;
    readonly blocked: number;
  };
}

export interface ServiceSnapshot {
  readonly service: string;
  /** The state, thresholds applied. */
  readonly state: ServiceState;
  readonly since: Timestamp;
  readonly critical: boolean;
  /** True while it changes its state too often to be believed. */
  readonly flapping: boolean;
  readonly acting: boolean;
  readonly maintenance: boolean;
  readonly cause?: Cause;
  readonly everPassed: boolean;
  readonly instance?: string;
  readonly checks: readonly CheckSnapshot[];
}

/** The supervision loop of this process, in numbers. */
export interface LoopStats {
  readonly running: boolean;
  readonly targets: number;
  readonly rounds: number;
  readonly lastRound?: Timestamp;
  readonly probes: number;
  readonly latenessP50Ms: Millis;
  readonly latenessP99Ms: Millis;
  readonly latenessMaxMs: Millis;
  readonly lagMs: Millis;
  readonly stalls: number;
  readonly suspends: number;
  readonly droppedEvents: number;
  readonly droppedMinutes: number;
}

export interface HealthSnapshot {
  readonly at: Timestamp;
  readonly platform: Platform;
  readonly services: readonly ServiceSnapshot[];
  readonly loopStats: LoopStats;
}

export interface Healthz {
  /** True while the loop is alive. */
  readonly alive: boolean;
  /** What is wrong with it. */
  readonly reason?: string;
  readonly loopStats: LoopStats;
}

/** How fresh an answer is: from a running loop, from what the last one left behind, or from none. */
export type AnswerSource =
  | { readonly type: 'live' }
  | { readonly type: 'last_seen'; readonly at: Timestamp; readonly ageMs: Millis }
  | { readonly type: 'nothing' };

export interface Uptime {
  /** Absent when nothing was measured. */
  readonly percent?: number;
  /** The share of the window that was measured, 0 to 1. */
  readonly coverage: number;
  readonly upMs: Millis;
  readonly degradedMs: Millis;
  readonly downMs: Millis;
  readonly excludedMs: Millis;
  readonly unknownMs: Millis;
  readonly probes: number;
  readonly failures: number;
  readonly errorRate?: number;
  readonly latency?: LatencyPercentiles;
}

export interface UptimeAnswer {
  readonly source: AnswerSource;
  readonly windowMs: Millis;
  readonly from: Timestamp;
  readonly to: Timestamp;
  readonly overall: Uptime;
  readonly services: readonly (Uptime & { readonly service: string })[];
}

/** A reason why the operator does not act. */
export interface Hold {
  readonly gate: Gate;
  readonly reason: string;
  readonly until?: Timestamp;
}

export type Gate =
  | 'kill_switch'
  | 'mode'
  | 'lease'
  | 'allow_list'
  | 'maintenance'
  | 'stopped_by_person'
  | 'failure_kind'
  | 'never_healthy'
  | 'native_policy'
  | 'dependency'
  | 'flapping'
  | 'self_suspicion'
  | 'cooldown'
  | 'backoff'
  | 'budget'
  | 'global_budget';

/** How much JARVIS may do. */
export type Mode = 'act' | 'dry-run' | 'observe';

/** A maintenance window that is open. */
export interface MaintenanceWindow {
  readonly window: number;
  readonly services: readonly string[];
  readonly since: Timestamp;
  readonly until: Timestamp;
  readonly by: string;
  readonly reason: string;
}

/** Where a service stands in the loop. */
export type Lifecycle =
  | {
      readonly phase:
        | 'steady'
        | 'acting'
        | 'waiting'
        | 'verifying'
        | 'stabilising'
        | 'backing_off'
        | 'cooling_down'
        | 'stopped';
    }
  | { readonly phase: 'held'; readonly hold: Hold };

export interface ServiceStatus {
  readonly service: string;
  readonly state: ServiceState;
  readonly lifecycle: Lifecycle;
  readonly restartable: boolean;
  readonly incident?: {
    readonly id: string;
    readonly openedAt: Timestamp;
    readonly cause: Cause;
    readonly becauseOf?: string;
    readonly attempts: number;
    readonly escalated: boolean;
  };
  /** How much of each restart limit is used; `window` as in the configuration: `"10m"`. */
  readonly budget: readonly { readonly limit: { readonly max: number; readonly window: string }; readonly used: number }[];
  readonly instance?: string;
  readonly version?: string;
  readonly lastGoodVersion?: string;
  readonly badVersions?: readonly string[];
  readonly maintenanceUntil?: Timestamp;
  readonly nextAt?: Timestamp;
}

export interface OperatorStatus {
  readonly at: Timestamp;
  readonly mode: Mode;
  readonly acting: boolean;
  readonly hold?: Hold;
  readonly lease?: { readonly holder: string; readonly token: number };
  readonly suspected?: string;
  readonly maintenance?: readonly MaintenanceWindow[];
  readonly services: readonly ServiceStatus[];
}

export interface StatusAnswer {
  readonly source: AnswerSource;
  readonly platform: Platform;
  /** What the checks say. */
  readonly health?: HealthSnapshot;
  /** Where each service stands in the loop. */
  readonly operator?: OperatorStatus;
}

/** A state change of a service. */
export interface StateChange {
  readonly service: string;
  readonly state: ServiceState;
  /** The check that decided; null when the service is healthy. */
  readonly cause: Cause | null;
  readonly flapping: boolean;
  /** False when the service is no longer configured. */
  readonly watched: boolean;
  readonly at: Timestamp;
}

/**
 * The state of the services. Answers have the names of the command's `--output json`, in camelCase.
 */
export class Health {
  private constructor();
  /** Probes these services (default: all) once, now. `not_found` for an unknown one. */
  check(options?: { services?: readonly string[] }): Promise<CheckAnswer>;
  /**
   * The services as the loop that runs on this state directory sees them, in this process or another;
   * without one, as the last loop left them.
   */
  status(): Promise<StatusAnswer>;
  /** What the checks of this process say. */
  snapshot(): HealthSnapshot;
  /** Whether the loop of this process is alive. */
  healthz(): Healthz;
  /** How much of the time services were up; default: all, over 24 hours. */
  uptime(options?: { services?: readonly string[]; window?: Millis }): Promise<UptimeAnswer>;
  /** The OpenMetrics text of this process. */
  metrics(): Promise<string>;
  /**
   * The state changes of these services (default: all), beginning with the present states. From this
   * process when it supervises, else from the loop that runs on the state directory. A slow reader gets
   * the newest change of each service. `not_found` for an unknown one.
   */
  watch(options?: { services?: readonly string[]; signal?: AbortSignal }): Stream<StateChange>;
}
