import { Millis, Stream } from './common';
import { Cause, Hold, Mode, Platform, ServiceState } from './health';

/** What the operator does to a service. */
export type ActionKind = 'restart' | 'start' | 'stop' | { readonly rollBack: { readonly to: string } };

/** Why the operator acts. */
export type Trigger =
  | { readonly type: 'down'; readonly cause: Cause }
  | { readonly type: 'manual'; readonly by: string }
  | { readonly type: 'dependency'; readonly on: string }
  | { readonly type: 'half_open' | 'reconcile' | 'first_start' };

/** A message of an application. */
export interface MessageEvent<T = unknown> {
  readonly type: 'message';
  readonly topic: string;
  readonly payload: T;
}

/** What JARVIS itself publishes, by `type`. */
export interface OwnEvents {
  service_changed: { readonly service: string; readonly from: ServiceState; readonly to: ServiceState; readonly cause?: Cause };
  platform_changed: { readonly from: ServiceState; readonly to: Platform };
  flapping_started: { readonly service: string };
  flapping_stopped: { readonly service: string };
  incident_opened: { readonly incident: string; readonly service: string; readonly cause: Cause; readonly becauseOf?: string };
  incident_recovered: { readonly incident: string; readonly service: string; readonly afterMs: Millis; readonly attempts: number };
  incident_resolved: { readonly incident: string; readonly service: string; readonly afterMs: Millis; readonly attempts: number };
  escalated: {
    readonly incident: string;
    readonly service: string;
    readonly attempts: number;
    readonly reason: string;
    readonly lastLogLines?: readonly string[];
  };
  stopped_by_person: { readonly service: string; readonly evidence: string };
  action_held: { readonly service: string; readonly action: ActionKind; readonly hold: Hold };
  action_simulated: { readonly service: string; readonly action: ActionKind; readonly trigger: Trigger };
  action_started: {
    readonly intent: string;
    readonly service: string;
    readonly action: ActionKind;
    readonly trigger: Trigger;
    readonly attempt: number;
  };
  action_finished: {
    readonly intent: string;
    readonly service: string;
    readonly outcome: 'done' | 'failed' | 'indeterminate';
    readonly tookMs: Millis;
    readonly message: string;
  };
  verify_passed: { readonly intent: string; readonly service: string; readonly instance?: string; readonly proven: boolean };
  verify_failed: { readonly intent: string; readonly service: string; readonly reason: string };
  rolled_back: { readonly service: string; readonly from?: string; readonly to: string };
  instance_changed: { readonly service: string; readonly from?: string; readonly to: string; readonly evidence: string };
  instance_exited: { readonly service: string; readonly instance?: string; readonly exit: string };
  operator_started: { readonly mode: Mode; readonly services: number; readonly restartable: number };
  operator_stopped: { readonly reason: string };
  lease_acquired: { readonly holder: string; readonly token: number };
  lease_lost: { readonly reason: string };
  acting_changed: { readonly acting: boolean; readonly reason: string };
  maintenance_changed: { readonly open: boolean; readonly services: readonly string[] };
  self_suspected: { readonly suspected: boolean; readonly reason: string };
  service_reset: { readonly service: string; readonly by: string };
  config_reloaded: { readonly changes: readonly string[] };
  config_refused: { readonly reason: string };
  operator_trouble: { readonly severity: 'info' | 'warning' | 'critical'; readonly message: string };
  alert_delivered: { readonly sink: string; readonly key: string };
  alert_failed: { readonly sink: string; readonly key: string; readonly reason: string; readonly givenUp: boolean };
}

/** An event that JARVIS itself publishes. */
export type OwnEvent = { [Type in keyof OwnEvents]: { readonly type: Type } & OwnEvents[Type] }[keyof OwnEvents];

/**
 * What happened. Another instance on the bus may run a newer version that publishes further types:
 * handle those in the `default` of a `switch`.
 */
export type Event<T = unknown> = OwnEvent | MessageEvent<T>;

/** An event, and where and when it was published. */
export interface Envelope<T = unknown> {
  /** Counts up by one within one `instance`. */
  readonly sequence: number;
  /** The process that published it. */
  readonly instance: string;
  /** By the clock of that process. */
  readonly at: Date;
  readonly topic: string;
  readonly event: Event<T>;
  /** The payload of a message; undefined for JARVIS's own events. */
  readonly payload?: T;
  /** Its place in the order of all instances. */
  readonly stream?: { readonly epoch: string; readonly sequence: number };
}

/** Tells that events are missing. */
export type Notice =
  | { readonly notice: 'missed'; readonly count: number }
  | { readonly notice: 'stream_lost' | 'stream_rolled_back' };

export interface SubscribeOptions {
  /** Only these topics: `project.42.chat`. All when there is neither a topic nor a pattern. */
  topics?: readonly string[];
  /** Only topics that one of these matches: `project.*.chat`, `project.**`. */
  patterns?: readonly string[];
  /** Which instances' events. Default `anywhere`. */
  origin?: 'anywhere' | 'here' | 'elsewhere';
  /** What happens when this subscriber is too slow. `close` ends it with an error. Default `drop_oldest`. */
  overflow?: 'drop_oldest' | 'close';
  /** How many events may wait, up to 65536. Default 1024. */
  buffer?: number;
  /** Ends the iteration with its reason. */
  signal?: AbortSignal;
  /** Called where events are missing. */
  onNotice?: (notice: Notice) => void;
}

/** Carries events to their subscribers: in this process and, on a shared bus, in others. */
export class EventBus {
  private constructor();
  /** The name of this bus in this process. */
  readonly instance: string;
  /** Publishes a message of the application. */
  publish(topic: string, payload?: unknown): Promise<Envelope>;
  /** Resolves when the server has JARVIS's own events. */
  flush(): Promise<void>;
  /**
   * Calls a listener for each event, one at a time. An error of the listener goes to `onError`;
   * without one it is an uncaught exception. Keeps the process alive until it is closed.
   */
  listen<T = unknown>(
    listener: (event: Envelope<T>) => unknown,
    options?: SubscribeOptions & { onError?: (error: unknown) => void },
  ): Subscription<T>;
  /** Subscribes. On `memory:` it is subscribed when this returns; for a server await `ready()`. */
  subscribe<T = unknown>(options?: SubscribeOptions): Subscription<T>;
}

/** What one subscriber receives: everything that is published after `ready()` has resolved. */
export class Subscription<T = unknown> extends Stream<Envelope<T>> {}
