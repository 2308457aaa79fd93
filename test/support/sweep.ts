/**
 * A command: removes what killed test runs left on this machine. `script/test` calls it before it starts.
 * Layer: test. Leaves living runs alone.
 */
import { sweepDeadRuns } from './run-dir.ts';

for (const path of await sweepDeadRuns()) console.error(`removed what a killed test run left: ${path}`);
