'use strict';

/** Upper ends of the buckets in seconds: OpenTelemetry's for `http.server.request.duration`, and two below. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];

/** Counted durations, by bucket; the last bucket has no end. All in seconds. */
class Durations {
  buckets = new Array(BOUNDS.length + 1).fill(0);
  count = 0;
  total = 0;
  longest = 0;

  add(seconds) {
    const at = BOUNDS.findIndex((bound) => seconds <= bound);
    this.buckets[at < 0 ? BOUNDS.length : at] += 1;
    this.count += 1;
    this.total += seconds;
    this.longest = Math.max(this.longest, seconds);
  }

  merge(other) {
    this.buckets = this.buckets.map((count, at) => count + other.buckets[at]);
    this.count += other.count;
    this.total += other.total;
    this.longest = Math.max(this.longest, other.longest);
    return this;
  }

  /** By interpolation within a bucket, as Prometheus does it; never more than the longest. */
  quantile(share) {
    const wanted = share * this.count;
    let below = 0;
    for (const [at, count] of this.buckets.entries()) {
      if (count > 0 && below + count >= wanted) {
        const low = at === 0 ? 0 : BOUNDS[at - 1];
        const high = Math.min(BOUNDS[at] ?? this.longest, this.longest);
        return Math.min(low + (Math.max(0, high - low) * (wanted - below)) / count, this.longest);
      }
      below += count;
    }
    return this.longest;
  }
}

module.exports = { BOUNDS, Durations };
