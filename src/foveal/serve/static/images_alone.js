
// Images, answered for on this page: the model runs in the browser, and nothing is sent anywhere --------------------

const MOST_PIXELS = 50e6; // of an image: twelve bytes each are needed while it is shrunk
let runtime = null, session = null, before = Promise.resolve();

const fault = (error) => (error instanceof Error ? error.message : String(error));

async function loadModel() {
  if (location.protocol === "file:")
    throw new Error("Browsers load nothing beside a page that was opened as a file. In this folder run: python -m http.server");
  const about = await fetch("model.json");
  if (!about.ok) throw new Error("There is no model.json beside this page.");
  const found = await about.json();
  byId("lead").textContent = "Loading the model …";
  runtime = await import(new URL("runtime/ort.wasm.min.mjs", location.href).href);
  runtime.env.wasm.wasmPaths = new URL("runtime/", location.href).href;
  runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  session = await runtime.InferenceSession.create(new URL("model.onnx", location.href).href);
  return found;
}

// The pixels as the model takes them: upright, in sRGB, over white.
async function pixelsOf(file) {
  let bitmap;
  try { bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }); }
  catch { throw new Error("This browser cannot read the file as an image."); }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`The image has ${width} × ${height} pixels; up to ${MOST_PIXELS / 1e6} million are answered for here.`);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data, n = model.n_channels, n_pixels = width * height;
  const data = new Uint8Array(n * n_pixels);
  if (n === 1) // grey as Pillow has it
    for (let at = 0, from = 0; at < n_pixels; at++, from += 4)
      data[at] = (19595 * rgba[from] + 38470 * rgba[from + 1] + 7471 * rgba[from + 2] + 0x8000) >> 16;
  else
    for (let to = 0, from = 0; to < data.length; to += 3, from += 4) {
      data[to] = rgba[from]; data[to + 1] = rgba[from + 1]; data[to + 2] = rgba[from + 2];
    }
  return { width, height, tensor: new runtime.Tensor("uint8", data, [height, width, n]) };
}

// One after the other: a session runs one image at a time.
function answerFor(file) {
  const answered = before.then(async () => {
    const { width, height, tensor } = await pixelsOf(file);
    const { answers, distance } = await session.run({ image: tensor });
    const known = distance ? { known: distance.data[0] <= model.known_within } : {};
    return { name: file.name, width, height, ...answerOf([...answers.data]), ...known };
  });
  before = answered.catch(() => {});
  return answered;
}

function answerOf(values) {
  const names = model.answer_names, named = () => Object.fromEntries(names.map((name, at) => [name, values[at]]));
  if (model.gives === "points") return { points: names.map((name, at) => ({ name, x: values[2 * at], y: values[2 * at + 1] })) };
  if (model.gives !== "labels") return { numbers: named() };
  const best = names[values.indexOf(Math.max(...values))];
  const answer = { probabilities: named(), labels: [best] }; // of several labels thresholds decide
  if (model.set_threshold !== null && model.set_threshold !== undefined) {
    const order = names.map((_, at) => at).sort((a, b) => values[b] - values[a]);
    const chosen = order.filter((at) => values[at] >= model.set_threshold).map((at) => names[at]);
    answer.prediction_set = chosen.length || model.decides ? chosen : [best];
  }
  return answer;
}

const explainFor = async () => { throw new Error("What the model looked at is not exported."); };
const correct = async () => { throw new Error("Nothing is kept by this page."); };
const programs = () => { byId("snippets").closest("details").hidden = true; };
