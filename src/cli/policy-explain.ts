/**
 * `keelson policy explain FROM TO PORT`: asks the daemon which rules allow or deny a connection.
 * Layer: cli. Decides nothing; the words are the daemon's (network/policy/explain.ts).
 */
import { queryControl } from '../agent/control-socket.ts';
import { type Explanation, explanationText } from '../network/policy/explain.ts';

/** @returns the exit code: 0 when it is allowed, 3 when it is denied */
export async function policyExplain(
  { from, to, port }: { from: string; to: string; port: string },
  { runDir, output }: { runDir: string; output: 'text' | 'json' },
): Promise<number> {
  const [number = '', protocol] = port.split('/');
  const query = new URLSearchParams({ from, to, port: number, ...(protocol !== undefined && { protocol }) });
  // The daemon is of the same version: it is the one that this program belongs to.
  const answer = (await queryControl(runDir, 5_000, `/policy/explain?${query}`)) as Explanation;
  process.stdout.write(output === 'json' ? `${JSON.stringify(answer, null, 2)}\n` : explanationText(answer));
  return answer.verdict === 'allowed' ? 0 : 3;
}
