// Uses a server as programs do that are written with the official JavaScript client.
//
// Every check prints `ok: NAME`, or `FAILED: NAME` with the reason; the exit code says whether all went well. A line
// `do: WORD` asks whoever runs this to do something to the connection (`cut`) or to the server (`restart`); the answer
// is a line on standard input.

import { NAMESPACE, core } from './common.mjs';
import * as leases from './leases.mjs';
import * as objects from './objects.mjs';
import * as watches from './watches.mjs';

const CHECKS = [...Object.values(objects), ...Object.values(watches), ...Object.values(leases)];

await core.createNamespace({ body: { metadata: { name: NAMESPACE } } });
let failed = 0;
for (const check of CHECKS) {
  try {
    await check();
    console.log(`ok: ${check.name}`);
  } catch (error) {
    // Whatever it is, the other checks still tell something.
    failed += 1;
    console.error(error);
    console.log(`FAILED: ${check.name}: ${String(error).replaceAll(/\s+/g, ' ')}`);
  }
}
console.log(`${CHECKS.length - failed} of ${CHECKS.length} checks passed`);
process.exit(failed > 0 ? 1 : 0);
