// Leases: the client brings no leader election, so this is the part of one that the server has to get right.

import * as k8s from '@kubernetes/client-node';
import { NAMESPACE, ask, coordination, expect, insistently } from './common.mjs';

// Takes the lease, or renews it; false if somebody else was faster.
async function take(name, holderIdentity, seen) {
  const now = new k8s.V1MicroTime();
  const changed = seen !== undefined && seen.spec.holderIdentity !== holderIdentity;
  const leaseTransitions = (seen?.spec.leaseTransitions ?? 0) + (changed ? 1 : 0);
  const spec = { holderIdentity, leaseDurationSeconds: 4, acquireTime: now, renewTime: now, leaseTransitions };
  const metadata = { name, resourceVersion: seen?.metadata.resourceVersion };
  try {
    if (seen === undefined) await coordination.createNamespacedLease({ namespace: NAMESPACE, body: { metadata, spec } });
    else await coordination.replaceNamespacedLease({ namespace: NAMESPACE, name, body: { metadata, spec } });
    return true;
  } catch (error) {
    if (error instanceof k8s.ApiException && error.code === 409) return false;
    throw error;
  }
}

const read = (name) => coordination.readNamespacedLease({ namespace: NAMESPACE, name });

export async function ofManyCandidatesOneTakesTheLease() {
  const candidates = Array.from({ length: 8 }, (_, number) => `candidate-${number}`);
  const winners = async (seen) => {
    const won = await Promise.all(candidates.map((candidate) => take('contended', candidate, seen)));
    return candidates.filter((_, number) => won[number]);
  };
  expect((await winners(undefined)).length, 1);
  for (let round = 0; round < 5; round += 1) {
    const seen = await read('contended');
    const won = await winners(seen);
    expect(won.length, 1, `winners of round ${round}: ${won}`);
    expect((await read('contended')).spec.holderIdentity, won[0]);
  }
}

export async function aLeaseOutlivesTheServer() {
  expect(await take('kept', 'leader', undefined), true);
  const before = await read('kept');
  await ask('restart');
  const after = await insistently('the lease', () => read('kept'));
  expect(after, before);
  expect(await take('kept', 'leader', before), true);
  expect(await take('kept', 'another', before), false, 'whether an old version takes the lease');
}
