// What the checks share: the APIs, how to expect a failure, how to wait.

import { createInterface } from 'node:readline';
import { isDeepStrictEqual } from 'node:util';
import * as k8s from '@kubernetes/client-node';

export const NAMESPACE = 'node';

// The longest that anything may take; a limit against hanging, never a measure.
const PATIENCE_MS = 60_000;

export const config = new k8s.KubeConfig();
config.loadFromDefault();
export const core = config.makeApiClient(k8s.CoreV1Api);
export const apps = config.makeApiClient(k8s.AppsV1Api);
export const coordination = config.makeApiClient(k8s.CoordinationV1Api);
export const objects = k8s.KubernetesObjectApi.makeApiClient(config);

export function expect(found, expected, what = 'value') {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Error(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }
}

// The Status of a call that must be refused.
export async function refused(code, reason, call) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    if (!(error instanceof k8s.ApiException)) throw error;
    const status = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    expect([error.code, status.reason, status.kind], [code, reason, 'Status'], JSON.stringify(status));
    return status;
  }
  throw new Error(`not refused with ${reason}: ${JSON.stringify(answer)}`);
}

export const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function waitFor(what, found) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await found();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(50);
  }
}

// A call that is made again while it fails for reasons of the network.
export function insistently(what, call) {
  return waitFor(what, async () => {
    try {
      return (await call()) ?? true;
    } catch (error) {
      if (error instanceof k8s.ApiException) throw error;
      return undefined;
    }
  });
}

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has the network cut, or the server restarted.
export async function ask(word) {
  console.log(`do: ${word}`);
  const answer = await answers.next();
  expect(answer.value, 'done', `answer to ${word}`);
}

export function configMap(name, { data, ...metadata } = {}) {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: NAMESPACE, ...metadata }, data };
}

export function createConfigMap(name, rest) {
  return core.createNamespacedConfigMap({ namespace: NAMESPACE, body: configMap(name, rest) });
}

export function deleteConfigMap(name) {
  return core.deleteNamespacedConfigMap({ namespace: NAMESPACE, name });
}

export function listConfigMaps(labelSelector, rest = {}) {
  return core.listNamespacedConfigMap({ namespace: NAMESPACE, labelSelector, ...rest });
}

export function daemonSet(name, image = 'main:v1') {
  const labels = { app: name };
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image }] } };
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace: NAMESPACE, labels },
    spec: { selector: { matchLabels: labels }, template },
  };
}
