/** The committed types of CSI and of plugin registration are those of the proto files. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { generatedFiles } from '../../../script/generate-csi-types.ts';

test('the generated files are what the generator writes', (t) => {
  for (const { url, text } of generatedFiles()) {
    t.true(readFileSync(url, 'utf8') === text, `${url.pathname}: run: node script/generate-csi-types.ts`);
  }
});

test('an enum two messages deep has its whole name', (t) => {
  const [tables] = generatedFiles().filter(({ url }) => url.pathname.endsWith('csi/schema.generated.ts'));
  t.regex(tables?.text ?? '', /VolumeCapability_AccessMode: \['1 one VolumeCapability_AccessMode_Mode mode'\]/);
});
