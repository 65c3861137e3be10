// Watches and informers that go on after the network was cut and after the server was restarted.

import * as k8s from '@kubernetes/client-node';
import {
  NAMESPACE, ask, config, core, createConfigMap, deleteConfigMap, expect, insistently, listConfigMaps, sleep, waitFor,
} from './common.mjs';

const PATH = `/api/v1/namespaces/${NAMESPACE}/configmaps`;

// Watches config maps, resumes where it was, and notes what it is told. One that `relists` lists again when its version
// is gone, and notes what is new and what is no longer there.
class Watcher {
  constructor(label, version, { relists = false } = {}) {
    Object.assign(this, { selector: `watched=${label}`, version, relists, told: [], broken: 0, stopped: false });
    this.ended = this.run();
  }

  async run() {
    while (!this.stopped) {
      await new Promise((done) => this.once(done));
      if (this.gone) await this.listAgain();
      if (!this.stopped) await sleep(20);
    }
  }

  async once(done) {
    const query = { labelSelector: this.selector, resourceVersion: this.version, allowWatchBookmarks: true };
    const hear = (type, object) => {
      if (type === 'ERROR') {
        this.gone = object.code === 410 && this.relists;
        if (!this.gone) this.told.push([type, object.code]);
        this.stopped = !this.gone;
        return;
      }
      this.version = object.metadata.resourceVersion;
      if (type !== 'BOOKMARK') this.told.push([type, object.metadata.name]);
    };
    const end = (error) => {
      this.broken += error && error.name !== 'AbortError' ? 1 : 0;
      done();
    };
    this.request = await new k8s.Watch(config).watch(PATH, query, hear, end);
  }

  async listAgain() {
    const listed = await insistently('a list', () => listConfigMaps(this.selector));
    const there = listed.items.map((item) => item.metadata.name);
    const named = (kind) => this.told.filter(([type]) => type === kind).map(([, name]) => name);
    const known = named('ADDED').filter((name) => !named('DELETED').includes(name));
    for (const name of there) if (!known.includes(name)) this.told.push(['ADDED', name]);
    for (const name of known) if (!there.includes(name)) this.told.push(['DELETED', name]);
    this.version = listed.metadata.resourceVersion;
    this.gone = false;
  }

  async expect(expected) {
    await waitFor(`${expected.length} events`, () => this.told.length >= expected.length);
    expect(this.told, expected);
  }

  async stop() {
    this.stopped = true;
    this.request?.abort();
    await this.ended;
  }
}

const versionNow = async () => (await listConfigMaps()).metadata.resourceVersion;
const create = (name, label) =>
  insistently(`creation of ${name}`, () => createConfigMap(name, { labels: { watched: label } }));
const clear = (label) =>
  core.deleteCollectionNamespacedConfigMap({ namespace: NAMESPACE, labelSelector: `watched=${label}` });

export async function aWatchResumesAfterTheNetworkWasCut() {
  const watcher = new Watcher('cut', await versionNow());
  const expected = [];
  for (let number = 0; number < 5; number += 1) {
    for (const when of ['before', 'after']) {
      await create(`${when}-${number}`, 'cut');
      expected.push(['ADDED', `${when}-${number}`]);
      await watcher.expect(expected);
      if (when === 'before') await ask('cut');
    }
  }
  expect(watcher.broken >= 5, true, `${watcher.broken} times broken`);
  await watcher.stop();
  await clear('cut');
}

export async function aWatchResumesAfterTheServerWasRestarted() {
  const watcher = new Watcher('restart', await versionNow(), { relists: true });
  await create('before', 'restart');
  await watcher.expect([['ADDED', 'before']]);
  await ask('restart');
  await create('after', 'restart');
  await insistently('a deletion', () => deleteConfigMap('before'));
  await watcher.expect([['ADDED', 'before'], ['ADDED', 'after'], ['DELETED', 'before']]);
  await watcher.stop();
  await clear('restart');
}

export async function aVersionThatIsGoneMeansListAgain() {
  const old = await versionNow();
  await create('missed', 'expired');
  await ask('restart');
  await insistently('a list', versionNow);
  const watcher = new Watcher('expired', old);
  await watcher.expect([['ERROR', 410]]);
  await watcher.stop();
  await clear('expired');
}

export async function anInformerStaysTrue() {
  const label = 'informer';
  const list = () => listConfigMaps(`watched=${label}`);
  const informer = k8s.makeInformer(config, PATH, list, `watched=${label}`);
  const told = { add: [], update: [], delete: [] };
  for (const kind of Object.keys(told)) informer.on(kind, (object) => told[kind].push(object.metadata.name));
  let stopped = false;
  // The informer leaves it to its user when to begin again.
  informer.on('error', async () => {
    await sleep(20);
    if (!stopped) await informer.start();
  });
  const inCache = async (...names) => {
    const found = () => informer.list(NAMESPACE).map((object) => object.metadata.name).sort();
    await waitFor(`${names} in the cache`, () => JSON.stringify(found()) === JSON.stringify(names));
  };
  await create('a', label);
  await informer.start();
  await inCache('a');
  await create('b', label);
  await inCache('a', 'b');
  for (const trouble of ['cut', 'restart', 'cut']) {
    await ask(trouble);
    await create(`c-${trouble}`, label);
    await inCache('a', 'b', `c-${trouble}`);
    await insistently('a deletion', () => deleteConfigMap(`c-${trouble}`));
    await inCache('a', 'b');
  }
  expect(told.add, ['a', 'b', 'c-cut', 'c-restart', 'c-cut']);
  expect(told.delete, ['c-cut', 'c-restart', 'c-cut']);
  stopped = true;
  await informer.stop();
  await clear(label);
}

// An informer that was away while versions were forgotten lists again, and says what changed.
export async function anInformerListsAgainWhenItsVersionIsGone() {
  const label = 'again';
  await create('stays', label);
  await create('goes', label);
  const informer = k8s.makeInformer(config, PATH, () => listConfigMaps(`watched=${label}`), `watched=${label}`);
  const told = [];
  informer.on('add', (object) => told.push(['add', object.metadata.name]));
  informer.on('delete', (object) => told.push(['delete', object.metadata.name]));
  await informer.start();
  expect(told, [['add', 'goes'], ['add', 'stays']]);
  await informer.stop();
  await deleteConfigMap('goes');
  await create('comes', label);
  await ask('restart');
  await insistently('a list', versionNow);
  await informer.start();
  await waitFor('the news', () => told.length >= 4);
  expect(told.slice(2), [['delete', 'goes'], ['add', 'comes']]);
  await informer.stop();
  await clear(label);
}
