// Drives every operation of the client that @hey-api/openapi-ts makes; type-checked beside it.
//     node drive.js ADDRESS PHOTOGRAPH MASK

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { client } from "./client/client.gen";
import * as api from "./client/index";

const [address, photograph, mask] = process.argv.slice(2);
client.setConfig({ baseUrl: address, throwOnError: true });
const file = (path: string) => new Blob([readFileSync(path)]);
const image = file(photograph);
const bytes = async (blob: Blob) => Buffer.from(await blob.arrayBuffer());

async function main(): Promise<void> {
  const png = await api.segmentMask({ body: { image }, throwOnError: true });
  assert(png.data instanceof Blob);
  assert((await bytes(png.data)).equals(readFileSync(mask)));

  const annotation = (
    await api.segmentAnnotation({ body: { image }, query: { measurements: true }, throwOnError: true })
  ).data;
  const { height, width } = annotation.image;
  assert.deepEqual(annotation.segmentation.size, [height, width]);
  assert.equal(annotation.measurements?.area_px, annotation.area);

  const polygons = (
    await api.segmentPolygons({ body: { image }, query: { tolerance_px: 0.5 }, throwOnError: true })
  ).data;
  assert.equal(polygons.tolerance_px, 0.5);
  assert(polygons.segmentation[0].length >= 6);

  const geojson = (await api.segmentGeojson({ body: { image }, throwOnError: true })).data;
  assert.equal(geojson.features[0].properties.area, annotation.area);

  const asked = await api.segment({ body: { image }, query: { format: "rle" }, throwOnError: true });
  assert.deepEqual(asked.data.segmentation, annotation.segmentation);

  const lines = (
    await api.segmentBatch({ body: { images: [image, image] }, parseAs: "text", throwOnError: true })
  ).data;
  const indices = lines.trim().split("\n").map((line) => JSON.parse(line).index);
  assert.deepEqual(indices, [0, 1]);

  const truth = [file(mask)];
  const scores = (
    await api.evaluateScores({ body: { image: [image], truth }, query: { threshold: 0.5 }, throwOnError: true })
  ).data;
  assert.equal(scores.items[0].dice, 1);
  const ofMasks = (await api.evaluate({ body: { pred: truth, truth }, throwOnError: true })).data;
  assert.equal(ofMasks.summary.n, 1);

  const serving = (await api.listVersions({ throwOnError: true })).data.serving;
  assert(serving);
  const card = await api.readVersion({ path: { version: serving.version }, throwOnError: true });
  assert.equal(card.data.sha256, serving.sha256);

  assert.equal((await api.healthz({ throwOnError: true })).data.status, "ok");
  assert.equal((await api.readyz({ throwOnError: true })).data.status, "ok");
  assert((await api.metrics({ throwOnError: true })).data.includes("lesion_queue_depth"));

  const refused = await api.segmentMask({ body: { image: new Blob(["GIF89a"]) }, throwOnError: false });
  assert.equal(refused.error?.status, 415);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
