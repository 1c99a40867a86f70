// JARVIS supervises a service whose probe and restarter are written in JavaScript.
import { Jarvis } from 'jarvis-core';

let life = 1;
let well = true;

const jarvis = Jarvis.open(
  { store: { session: 'memory:' } },
  {
    stateDir: process.env['STATE_DIR'] ?? './jarvis-state',
    services: {
      coach: {
        check: [
          {
            name: 'ping',
            interval: '100ms',
            timeout: '90ms',
            probe: () => (well ? { verdict: 'pass', instance: `life-${life}` } : { verdict: 'fail', kind: 'exited', message: 'the process is gone' }),
          },
        ],
        restart: {
          restarter: {
            observe: () => ({ state: 'running', instance: `life-${life}` }),
            restart: () => {
              life += 1;
              well = true;
              return { message: 'started', after: `life-${life}` };
            },
          },
        },
      },
    },
    alerts: { console: { sink: ({ status, title }) => console.log('alert', status, title) } },
  },
);

const incidents = jarvis.events.subscribe({ topics: ['incident'] });
const running = jarvis.run();

// A service that was never healthy is not restarted, so wait until it is; then it fails.
for await (const { state } of jarvis.health.watch()) if (state === 'healthy') break;
well = false;
for await (const { event } of incidents) {
  console.log(event.type);
  if (event.type === 'incident_recovered') break;
}
await jarvis.close();
await running;
