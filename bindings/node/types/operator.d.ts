import { Millis, Stream } from './common';
import { Envelope, Notice } from './events';
import { MaintenanceWindow, StatusAnswer } from './health';

/** The answer to a command. */
export interface ActionAnswer {
  /** One line for a person. */
  readonly message: string;
  /** Names the action in the events, when one was begun. */
  readonly intent?: string;
  /** The maintenance window that was opened. */
  readonly maintenance?: MaintenanceWindow;
}

export interface CommandOptions {
  /** Who asks, for the record. Default `node`. */
  by?: string;
}

export interface ActionOptions extends CommandOptions {
  /** Wait until the action is verified or has failed, 5 minutes at most. Default true. */
  wait?: boolean;
}

export interface LogOptions {
  /** Only topics that one of these patterns matches. */
  topics?: readonly string[];
  service?: string;
  /** Only retained events from then on. Default: with `follow` none, else all that are retained. */
  since?: Date | string | number;
  /** At most this many retained events, the newest. */
  limit?: number;
  /** Go on with new events, messages of the application included. */
  follow?: boolean;
  /** With `follow`: also what other instances publish. */
  everywhere?: boolean;
  /** Called where events are missing. */
  onNotice?: (notice: Notice) => void;
  signal?: AbortSignal;
}

/**
 * The commands of a person. They go to the loop that runs on this state directory, in this process or
 * another. Without one, services that another program runs can be acted on once, under the lease;
 * everything else is `unavailable`. `forbidden` when a gate is closed.
 */
export class Operator {
  private constructor();
  /** The state of each service and what is done about it. */
  status(): Promise<StatusAnswer>;
  /** Restarts a service. When it waits and the service is unhealthy after the action: `conflict`. */
  restart(service: string, options?: ActionOptions): Promise<ActionAnswer>;
  /** Stops a service, which stays stopped. */
  stop(service: string, options?: ActionOptions): Promise<ActionAnswer>;
  /** Starts a service. */
  start(service: string, options?: ActionOptions): Promise<ActionAnswer>;
  /** Clears the budgets, the breaker and the backoff of a service. */
  reset(service: string, options?: CommandOptions): Promise<ActionAnswer>;
  /** Begins no action until `resume`, or for this long; an action under way is finished. */
  pause(options?: { reason?: string; lasting?: Millis; by?: string }): Promise<ActionAnswer>;
  /** Acts again. */
  resume(options?: CommandOptions): Promise<ActionAnswer>;
  /** Opens a maintenance window for names or globs of services. */
  maintain(options: { services: string[]; duration: Millis; reason?: string } & CommandOptions): Promise<ActionAnswer>;
  /** Closes a window that `maintain` opened, or all of them. */
  endMaintenance(options?: { window?: number } & CommandOptions): Promise<ActionAnswer>;
  /** Reads the log of events, oldest first, and with `follow` goes on with new events. */
  events(options?: LogOptions): Stream<Envelope>;
  /** Makes the loop read its configuration again; returns what changed. */
  reload(): Promise<string[]>;
  /** Sends a test alert to a sink, or to each; `error` is why it was not delivered. */
  testAlert(options?: { sink?: string }): Promise<{ readonly sink: string; readonly error?: string }[]>;
}
