'use strict';

const { BOUNDS } = require('./durations.js');

const DURATION = 'http_server_request_duration_seconds';
const ACTIVE = 'http_server_active_requests';

/** A label's value as OpenMetrics has it within quotes. */
const escaped = (text) => String(text).replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');

/** A number as OpenMetrics has those of buckets. */
const float = (number) => (Number.isInteger(number) ? `${number}.0` : `${number}`);

function histogram({ method, route, status, durations }) {
  const labels = `http_request_method="${escaped(method)}",http_route="${escaped(route)}",http_response_status_code="${status}"`;
  let below = 0;
  const line = (edge, count) => `${DURATION}_bucket{${labels},le="${edge}"} ${(below += count)}`;
  return [
    ...durations.buckets.map((count, at) => line(at < BOUNDS.length ? float(BOUNDS[at]) : '+Inf', count)),
    `${DURATION}_count{${labels}} ${durations.count}`,
    `${DURATION}_sum{${labels}} ${durations.total}`,
  ];
}

/**
 * The OpenMetrics text, under the names that OpenTelemetry has for HTTP servers, after what another
 * has made.
 */
function openMetrics(series, active, others = '') {
  return [
    ...(others === '' ? [] : [others.replace(/(^|\n)# EOF\n?$/, '')]),
    `# HELP ${ACTIVE} Requests that are being answered.`,
    `# TYPE ${ACTIVE} gauge`,
    `${ACTIVE} ${active}`,
    `# HELP ${DURATION} How long requests took.`,
    `# TYPE ${DURATION} histogram`,
    `# UNIT ${DURATION} seconds`,
    ...series.flatMap(histogram),
    '# EOF',
    '',
  ].join('\n');
}

module.exports = { openMetrics };
