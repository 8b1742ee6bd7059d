// k6: requests begin at a steady rate, whatever becomes of those before them.
import http from 'k6/http';

const bodies = [];
for (let i = 0; i < Number(__ENV.BODIES); i++) bodies.push(open(`${__ENV.FOLDER}/${i}`, __ENV.BINARY ? 'b' : ''));
const headers = { 'Content-Type': __ENV.CONTENT_TYPE };

export const options = {
  discardResponseBodies: true,
  summaryTrendStats: ['p(50)', 'p(99)'],
  scenarios: {
    open: {
      executor: 'constant-arrival-rate',
      rate: Number(__ENV.RATE),
      timeUnit: '1s',
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: Number(__ENV.USERS),
      maxVUs: Number(__ENV.USERS),
      gracefulStop: '2s',
    },
  },
};

export default function () {
  http.post(__ENV.URL, bodies[__ITER % bodies.length], { headers, timeout: '10s' });
}

export function handleSummary(data) {
  const of = (name, field) => (data.metrics[name] ? data.metrics[name].values[field] : 0);
  const found = {
    requests: of('http_reqs', 'count'),
    dropped: of('dropped_iterations', 'count'),
    failed: of('http_req_failed', 'passes'),
    p50: of('http_req_duration', 'p(50)'),
    p99: of('http_req_duration', 'p(99)'),
  };
  return { stdout: `\n${JSON.stringify(found)}\n` };
}
