
// Images, asked of the service --------------------------------------------------------------------------------------

async function askAbout(path, file) {
  if (file.size > model.max_body) throw new Error(`The file is larger than ${model.max_body / 1e6} MB.`);
  const response = await post(path, file, { "Content-Type": "application/octet-stream" });
  if (!response.ok) throw new Error(await explained(response));
  return response;
}

const answerFor = async (file) => (await (await askAbout("predict", file)).json()).answers[0];
const explainFor = async (file, label) => (await askAbout(`explain?label=${encodeURIComponent(label)}`, file)).blob();

function correct(file, labels, answered) {
  const query = new URLSearchParams([...labels.map((one) => ["label", one]), ...answered.map((one) => ["answered", one])]);
  return askAbout(`correction?${query}`, file);
}

function programs() {
  const address = new URL("predict", location.href).href;
  snippets({ curl: `curl --data-binary @image.jpg -H 'Content-Type: image/jpeg' ${address}`,
    "curl, several": `curl -F file=@one.jpg -F file=@two.jpg ${address}`,
    Python: `import json, urllib.request\n\nrequest = urllib.request.Request(\n    "${address}",\n    data=open("image.jpg", "rb").read(),\n    headers={"Content-Type": "image/jpeg"},\n)\nprint(json.load(urllib.request.urlopen(request)))` });
}
