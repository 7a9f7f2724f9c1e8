// A peer of the engine, several times over in one process: node peers.mjs <peer> <model> <output> <times>
// Prints the seconds of each time as JSON. occt-import-js and web-ifc write nothing: they tessellate only.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { performance } from "node:perf_hooks";

const require = createRequire(import.meta.url);
const [peer, model, output, times] = process.argv.slice(2);

const peers = {
  async obj2gltf() {
    const convert = require("obj2gltf");
    return async () => writeFileSync(output, await convert(model, { binary: true }));
  },
  async "gltf-transform"() {
    const { NodeIO } = await import("@gltf-transform/core");
    const { ALL_EXTENSIONS } = await import("@gltf-transform/extensions");
    const draco = require("draco3dgltf");
    const { MeshoptDecoder, MeshoptEncoder } = await import("meshoptimizer");
    const io = new NodeIO().registerExtensions(ALL_EXTENSIONS).registerDependencies({
      "draco3d.decoder": await draco.createDecoderModule(),
      "draco3d.encoder": await draco.createEncoderModule(),
      "meshopt.decoder": MeshoptDecoder,
      "meshopt.encoder": MeshoptEncoder,
    });
    return async () => writeFileSync(output, await io.writeBinary(await io.read(model)));
  },
  async gltfpack() {
    const gltfpack = await import("gltfpack");
    const files = { read: (path) => readFileSync(path), write: (path, data) => writeFileSync(path, data) };
    return () => gltfpack.pack(["-i", model, "-o", output, "-noq"], files);
  },
  async "occt-import-js"() {
    const occt = await require("occt-import-js")();
    const read = /\.ige?s$/i.test(model) ? occt.ReadIgesFile : occt.ReadStepFile;
    const settings = { linearUnit: "meter", linearDeflectionType: "absolute_value", linearDeflection: 0.0001 };
    return () => {
      const made = read(new Uint8Array(readFileSync(model)), settings);
      return made.meshes.reduce((sum, mesh) => sum + mesh.index.array.length / 3, 0);
    };
  },
  async "web-ifc"() {
    const ifc = require("web-ifc");
    const api = new ifc.IfcAPI();
    await api.Init();
    return () => {
      const id = api.OpenModel(new Uint8Array(readFileSync(model)));
      let triangles = 0;
      api.StreamAllMeshes(id, (mesh) => {
        for (let index = 0; index < mesh.geometries.size(); index++) {
          const geometry = api.GetGeometry(id, mesh.geometries.get(index).geometryExpressID);
          triangles += geometry.GetIndexDataSize() / 3;
          geometry.delete();
        }
      });
      api.CloseModel(id);
      return triangles;
    };
  },
};

const log = console.log;
console.log = () => {};
const run = await peers[peer]();
const seconds = [];
let triangles = null;
for (let time = 0; time < Number(times); time++) {
  const start = performance.now();
  const made = await run();
  seconds.push((performance.now() - start) / 1000);
  if (typeof made === "number") triangles = made;
}
log(JSON.stringify({ seconds, triangles }));
