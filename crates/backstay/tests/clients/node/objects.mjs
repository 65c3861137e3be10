// Single requests: typed and untyped objects, patches, apply, pages, a custom resource, a rollout and its undo.

import * as k8s from '@kubernetes/client-node';
import {
  NAMESPACE, apps, config, configMap, coordination, core, createConfigMap, daemonSet, deleteConfigMap, expect,
  listConfigMaps, objects, refused, waitFor,
} from './common.mjs';

const { PatchStrategy } = k8s;

export async function objectsOfManyKindsLiveAndDie() {
  const rbac = { apiGroups: [''], resources: ['pods'], verbs: ['get'] };
  const bodies = [
    configMap('x', { data: { a: '1' } }),
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'x', namespace: NAMESPACE }, stringData: { a: '1' } },
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 'x', namespace: NAMESPACE }, spec: { ports: [{ port: 80 }] } },
    { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'x', namespace: NAMESPACE }, spec: {} },
    { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'ClusterRole', metadata: { name: 'x' }, rules: [rbac] },
    { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'x' }, provisioner: 'example.com/none' },
  ];
  for (const body of bodies) {
    const made = await objects.create(structuredClone(body));
    await refused(409, 'AlreadyExists', () => objects.create(structuredClone(body)));
    const read = await objects.read(body);
    expect(read.metadata.uid, made.metadata.uid, body.kind);
    read.metadata.labels = { seen: 'yes' };
    const replaced = await objects.replace(read);
    expect(replaced.metadata.labels, { seen: 'yes' }, body.kind);
    await refused(409, 'Conflict', () => objects.replace(read));
    await objects.delete(body);
    await refused(404, 'NotFound', () => objects.read(body));
  }
}

export async function timesKeepTheirMicroseconds() {
  const renewTime = new k8s.V1MicroTime('2026-01-02T03:04:05.678Z');
  const body = { metadata: { name: 'timed' }, spec: { holderIdentity: 'me', renewTime } };
  await coordination.createNamespacedLease({ namespace: NAMESPACE, body });
  const read = await objects.read({
    apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'timed', namespace: NAMESPACE },
  });
  expect(new Date(read.spec.renewTime).getTime(), renewTime.getTime());
  await coordination.deleteNamespacedLease({ namespace: NAMESPACE, name: 'timed' });
}

export async function patchesOfEveryKind() {
  const body = { ...daemonSet('patched') };
  body.spec.updateStrategy = { type: 'OnDelete' };
  await apps.createNamespacedDaemonSet({ namespace: NAMESPACE, body });
  const patch = (body, strategy) =>
    apps.patchNamespacedDaemonSet(
      { namespace: NAMESPACE, name: 'patched', body },
      k8s.setHeaderOptions('Content-Type', strategy),
    );
  const side = { spec: { template: { spec: { containers: [{ name: 'side', image: 'side:v1' }] } } } };
  const names = (ds) => ds.spec.template.spec.containers.map((container) => container.name).sort();
  // Lists merge by key in a strategic patch, and are replaced in a merge patch.
  expect(names(await patch(side, PatchStrategy.StrategicMergePatch)), ['main', 'side']);
  expect(names(await patch(side, PatchStrategy.MergePatch)), ['side']);
  const operation = { op: 'replace', path: '/spec/template/spec/containers/0/image', value: 'side:v2' };
  const patched = await patch([operation], PatchStrategy.JsonPatch);
  expect(patched.spec.template.spec.containers[0].image, 'side:v2');
  await refused(422, 'Invalid', () => patch([{ ...operation, path: '/nosuch/0' }], PatchStrategy.JsonPatch));
  await apps.deleteNamespacedDaemonSet({ namespace: NAMESPACE, name: 'patched' });
}

export async function serverSideApply() {
  const apply = (manager, data, force = false) =>
    objects.patch(configMap('applied', { data }), undefined, undefined, manager, force, PatchStrategy.ServerSideApply);
  expect((await apply('one', { a: '1', b: '1' })).data, { a: '1', b: '1' });
  expect((await apply('two', { c: '2' })).data, { a: '1', b: '1', c: '2' });
  // What a manager no longer applies goes, unless another one holds it.
  expect((await apply('one', { a: '1' })).data, { a: '1', c: '2' });
  const status = await refused(409, 'Conflict', () => apply('two', { a: '2', c: '2' }));
  expect(status.details.causes.map((cause) => cause.field), ['.data.a']);
  const forced = await apply('two', { a: '2', c: '2' }, true);
  expect(forced.data, { a: '2', c: '2' });
  expect(forced.metadata.managedFields.map((entry) => entry.manager), ['two']);
  await deleteConfigMap('applied');
}

export async function listsComeInPages() {
  const names = Array.from({ length: 7 }, (_, number) => `page-${number}`);
  for (const name of names) await createConfigMap(name, { labels: { paged: 'yes' } });
  const seen = [];
  let token;
  do {
    const page = await listConfigMaps('paged=yes', { limit: 3, _continue: token });
    seen.push(...page.items.map((item) => item.metadata.name));
    token = page.metadata._continue;
  } while (token);
  expect(seen, names);
  await core.deleteCollectionNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: 'paged=yes' });
  expect((await listConfigMaps('paged=yes')).items.length, 0);
}

export async function aCustomResourceIsDefinedAndUsed() {
  const group = 'node.example.com';
  const properties = {
    spec: { type: 'object', properties: { masts: { type: 'integer', minimum: 1 } } },
    status: { type: 'object', properties: { afloat: { type: 'boolean' } } },
  };
  const definition = {
    metadata: { name: `boats.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'boats', kind: 'Boat' },
      versions: [{
        name: 'v1', served: true, storage: true, subresources: { status: {} },
        schema: { openAPIV3Schema: { type: 'object', properties } },
      }],
    },
  };
  const definitions = config.makeApiClient(k8s.ApiextensionsV1Api);
  await definitions.createCustomResourceDefinition({ body: definition });
  await waitFor('the definition', async () => {
    const { status } = await definitions.readCustomResourceDefinition({ name: `boats.${group}` });
    return status?.conditions?.some((condition) => condition.type === 'Established' && condition.status === 'True');
  });
  const custom = config.makeApiClient(k8s.CustomObjectsApi);
  const boats = { group, version: 'v1', namespace: NAMESPACE, plural: 'boats' };
  const boat = (name, masts) => ({ apiVersion: `${group}/v1`, kind: 'Boat', metadata: { name }, spec: { masts } });
  await custom.createNamespacedCustomObject({ ...boats, body: boat('ketch', 2) });
  const create = () => custom.createNamespacedCustomObject({ ...boats, body: boat('raft', 0) });
  const status = await refused(422, 'Invalid', create);
  expect(status.details.causes[0].field, 'spec.masts');
  const patched = await custom.patchNamespacedCustomObject(
    { ...boats, name: 'ketch', body: [{ op: 'replace', path: '/spec/masts', value: 3 }] },
    k8s.setHeaderOptions('Content-Type', PatchStrategy.JsonPatch),
  );
  expect([patched.spec.masts, patched.metadata.generation], [3, 2]);
  const listed = await custom.listNamespacedCustomObject(boats);
  expect(listed.items.map((item) => item.metadata.name), ['ketch']);
  await custom.deleteNamespacedCustomObject({ ...boats, name: 'ketch' });
  await definitions.deleteCustomResourceDefinition({ name: `boats.${group}` });
}

// The product's story: undo sends the data of an older revision as a strategic merge patch.
export async function aDaemonSetRollsOutAndBack() {
  const set = { namespace: NAMESPACE, name: 'rolled' };
  await apps.createNamespacedDaemonSet({ namespace: NAMESPACE, body: daemonSet('rolled') });
  const settled = async () => {
    const { metadata, status } = await apps.readNamespacedDaemonSet(set);
    const current = status.observedGeneration === metadata.generation && status.desiredNumberScheduled === 2;
    return current && status.updatedNumberScheduled === 2 && status.numberAvailable === 2;
  };
  const history = async () => {
    const { items } = await apps.listNamespacedControllerRevision({ namespace: NAMESPACE, labelSelector: 'app=rolled' });
    return new Map(items.map((item) => [item.revision, item]));
  };
  const strategic = k8s.setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch);
  await waitFor('the first rollout', settled);
  const containers = [{ name: 'main', image: 'main:v2' }];
  await apps.patchNamespacedDaemonSet({ ...set, body: { spec: { template: { spec: { containers } } } } }, strategic);
  await waitFor('the update', settled);
  const before = await history();
  expect([...before.keys()].sort(), [1, 2]);
  await apps.patchNamespacedDaemonSet({ ...set, body: before.get(1).data }, strategic);
  await waitFor('the undo', settled);
  expect([...(await history()).keys()].sort(), [2, 3]);
  const pods = await core.listNamespacedPod({ namespace: NAMESPACE, labelSelector: 'app=rolled' });
  expect(pods.items.map((pod) => pod.spec.containers[0].image), ['main:v1', 'main:v1']);
  await apps.deleteNamespacedDaemonSet(set);
  await waitFor('its pods to go', async () => (await core.listNamespacedPod({ namespace: NAMESPACE })).items.length === 0);
}
