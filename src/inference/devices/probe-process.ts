import { listSupportedBackends } from 'onnxruntime-node';
import { messageOf } from '../../errors.ts';
import { cpu, DEVICE_KINDS } from './device.ts';
import type { ProbeReply, ProbeRequest } from './probe-device.ts';
import { ProbeSession } from './probe-session.ts';

/** A process that tries one device and ends; started by `probeDevice`. Each reply replaces the one before. */
const { device, threads, measure }: ProbeRequest = JSON.parse(process.argv[2] ?? '{}');

const backends = listSupportedBackends().map(({ name }) => name);
const known = DEVICE_KINDS.filter((kind) => backends.includes(kind));
if (known.includes(device.kind)) await probe();
else tell({ known, works: false, reason: 'ONNX Runtime does not have it on this system' });

async function probe(): Promise<void> {
  let session: ProbeSession;
  let onCpu: ProbeSession;
  try {
    session = await ProbeSession.open(device, threads);
    onCpu = await ProbeSession.open(cpu, threads);
    await session.compare(onCpu, 'float32');
  } catch (error) {
    tell({ known, works: false, reason: messageOf(error) });
    return;
  }
  // float16 last, and told apart: a driver that crashes in it may be good for float32.
  const speed = measure ? await session.speedOver(onCpu) : null;
  tell({ known, works: true, half: false, speed });
  try {
    const half = await ProbeSession.open(device, threads, true);
    await half.compare(onCpu, 'float16');
  } catch {
    return;
  }
  tell({ known, works: true, half: true, speed });
}

function tell(reply: ProbeReply): void {
  process.send?.(reply);
}
