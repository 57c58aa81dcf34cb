// A policy in node or a browser, with onnxruntime-web: node act.mjs policy.onnx episode.json
//
// policy.json, the contract, lies beside policy.onnx: both come from `offline-agents export`. An episode is a list of
// steps, each with `observation` (by the names of the policy's inputs) and `reward`, that of the step before. Each action
// is printed as a line of JSON.

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";

const [file, episode] = process.argv.slice(2);
const contract = JSON.parse(readFileSync(file.replace(/\.onnx$/, ".json")));
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(file));

function tensor(type, shape, values) {
  const numbers = type === "int64" ? BigInt64Array.from(values, BigInt) : Float32Array.from(values);
  return new ort.Tensor(type, numbers, [1, ...shape]);
}

let memory = {}; // of the first step of every episode
for (const { name, type, shape, reset } of contract.memory) {
  memory[name] = tensor(type, shape, Array(shape.reduce((a, b) => a * b, 1)).fill(reset));
}
for (const step of JSON.parse(readFileSync(episode))) {
  const inputs = { ...memory };
  for (const { name, type, shape } of contract.observations) {
    inputs[name] = tensor(type, shape, [step.observation[name]].flat(Infinity));
  }
  if (contract.takes_reward) inputs.reward = tensor("float32", [1], [step.reward]);
  const results = await session.run(inputs);
  for (const name in memory) memory[name] = results[`${name}.next`];
  console.log(JSON.stringify(Array.from(results.action.data, Number)));
}
