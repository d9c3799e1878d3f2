
// Images: dropped, pasted, chosen or photographed ------------------------------------------------------------------

const AT_ONCE = 2, SHOWN = 5;
let thresholds = {};
const tried = [];
const waiting = [];
let running = 0;

const say = (text) => { byId("status").textContent = text; };

function add(files) {
  for (const file of files) {
    const one = { file, name: file.name || "pasted image", answer: null, error: null };
    tried.push(one);
    one.element = make("article", {}, make("p", {}, `${one.name}: waiting`));
    byId("gallery").prepend(one.element);
    waiting.push(one);
  }
  byId("after").hidden = tried.length === 0;
  work();
}

function work() {
  while (running < AT_ONCE && waiting.length) {
    const one = waiting.shift();
    running++;
    ask(one).finally(() => { running--; if (tried.includes(one)) report(); work(); });
  }
}

async function ask(one) {
  try {
    one.answer = await answerFor(one.file);
  } catch (error) {
    one.error = fault(error);
  }
  draw(one);
}

function report() {
  const left = tried.filter((one) => !one.answer && !one.error).length;
  const bad = tried.filter((one) => one.error).length;
  const last = tried.length === 1 ? (tried[0].error || answerText(tried[0])) : "";
  say(left ? `${left} of ${tried.length} still to answer` :
    `${tried.length - bad} answered${bad ? `, ${bad} not` : ""}. ${last}`);
}

// Showing --------------------------------------------------------------------------------------------------------

function found(answer) {
  if (!answer.probabilities) return [];
  if (!model.decides) return answer.labels;
  return model.names.filter((name) => answer.probabilities[name] > thresholds[name]);
}

const hasRadius = (point) => typeof point.radius === "number"; // null: none for this point; absent: none at all
const around = (point) => (hasRadius(point) ? `, radius ${point.radius.toFixed(1)} px` : "");

// Of one label the truth is one of the set; of several all of an image's labels are in it.
function setText(answer) {
  const names = answer.prediction_set;
  if (model.decides) return names.length ? `no more than ${names.join(", ")}` : "nothing";
  return names.length === 1 ? names[0] : `one of ${names.join(", ")}`;
}

function answerText(one) {
  const answer = one.answer;
  if (!answer) return "";
  if (answer.probabilities) return found(answer).join(", ") || "nothing found";
  if (answer.points) return answer.points.map((p) => `${p.name}: x ${p.x.toFixed(1)}, y ${p.y.toFixed(1)} px${around(p)}`).join("; ");
  return Object.entries(answer.numbers).map(([name, value]) => `${name} ${value.toPrecision(4)}`).join(", ");
}

function draw(one) {
  if (!tried.includes(one)) return; // cleared meanwhile
  const shown = make("div", { class: "seen" }, frame(one));
  const right = make("div", {}, make("h2", {}, one.name));
  if (one.error) right.append(make("p", { class: "error" }, one.error));
  if (one.answer) {
    right.append(make("p", { class: "found" }, answerText(one)));
    if (one.answer.known === false) right.append(make("p", { class: "unlike" }, "Unlike the images that the model knows: it may be none of these."));
    if (one.answer.prediction_set) right.append(make("p", { class: "lead" }, `The truth is, in 90 of 100 images, ${setText(one.answer)}.`));
    if (one.answer.probabilities) right.append(bars(one));
    if (one.answer.points && model.radius_note) right.append(make("p", { class: "lead" }, model.radius_note));
    if (one.answer.points && model.explains)
      right.append(...one.answer.points.map((point) => whyButton(one, point.name, `Why ${point.name}?`)));
    right.append(make("p", { class: "lead" }, `${one.answer.width} × ${one.answer.height} pixels`));
    if (model.collects) right.append(correction(one));
  }
  one.element.replaceChildren(shown, right);
}

function frame(one) {
  one.url = one.url || URL.createObjectURL(one.file);
  const image = make("img", { src: one.seen || one.url, alt: one.seen ? "bright: what the model looked at" : one.name });
  image.onerror = () => { image.hidden = true; };
  const around = make("div", { class: "frame" }, image);
  if (one.answer && one.answer.points && !one.seen) around.append(points(one.answer));
  return around;
}

function points(answer) {
  const NS = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(NS, "svg");
  drawing.setAttribute("viewBox", `0 0 ${answer.width} ${answer.height}`);
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", answerText({ answer }));
  const shape = (tag, kind, places) => {
    const element = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries({ ...places, class: `point ${kind}` })) element.setAttribute(name, value);
    drawing.append(element);
  };
  const line = (kind, x1, y1, x2, y2) => shape("line", kind, { x1, y1, x2, y2 });
  const arm = Math.max(answer.width, answer.height) / 30;
  for (const kind of ["under", "over"]) {
    for (const [a, b] of model.skeleton)
      line(kind, answer.points[a].x, answer.points[a].y, answer.points[b].x, answer.points[b].y);
    for (const { x, y } of answer.points) {
      line(kind, x - arm, y - arm, x + arm, y + arm);
      line(kind, x - arm, y + arm, x + arm, y - arm);
    }
    for (const point of answer.points.filter(hasRadius))
      shape("circle", `${kind} around`, { cx: point.x, cy: point.y, r: point.radius });
  }
  return drawing;
}

function bars(one) {
  const sorted = model.names.map((name) => [name, one.answer.probabilities[name] ?? NaN]).sort((a, b) => b[1] - a[1]);
  const passed = new Set(found(one.answer));
  const n = one.all ? sorted.length : Math.max(SHOWN, passed.size);
  const list = make("div", {});
  for (const [name, share] of sorted.filter(([name], at) => at < n || passed.has(name))) {
    const fill = make("div", { class: "fill" });
    fill.style.width = `${100 * (share || 0)}%`;
    const track = make("div", { class: "track", "aria-hidden": "true" }, fill);
    if (model.decides) {
      const mark = make("div", { class: "mark" });
      mark.style.left = `${100 * thresholds[name]}%`;
      track.append(mark);
    }
    const why = model.explains ? [whyButton(one, name, "why?")] : [];
    const sign = passed.has(name) ? "✓\u00a0" : "";
    list.append(make("div", { class: passed.has(name) ? "bar passed" : "bar" }, make("span", {}, sign + name), track,
      make("span", { class: "share" }, share.toFixed(2)), ...why));
  }
  if (sorted.length > n)
    list.append(make("button", { type: "button", class: "small", onclick: () => { one.all = true; draw(one); } },
      `all ${sorted.length} classes`));
  return list;
}

function whyButton(one, label, text) {
  const pressed = one.why === label;
  const button = make("button", { type: "button", class: "small", "aria-pressed": String(pressed),
    "aria-label": pressed ? `show the image again` : `what the model looked at for ${label}` }, pressed ? "back" : text);
  button.onclick = async () => {
    if (one.seen) URL.revokeObjectURL(one.seen);
    one.seen = one.why = null;
    if (!pressed) {
      button.disabled = true;
      try {
        one.seen = URL.createObjectURL(await explainFor(one.file, label));
        one.why = label;
      } catch (error) { say(fault(error)); }
    }
    draw(one);
  };
  return button;
}

// Corrections ----------------------------------------------------------------------------------------------------

function correction(one) {
  if (one.kept) return make("p", { class: "lead" }, "Kept, thank you.");
  const wrong = make("details", { class: "correction" }, make("summary", {}, "This is wrong"));
  const passed = new Set(found(one.answer)), several = model.decides;
  const boxes = model.names.map((name) => {
    const box = make("input", { type: several ? "checkbox" : "radio", name: `right-${tried.indexOf(one)}` });
    box.checked = passed.has(name);
    return [name, box];
  });
  const send = make("button", { type: "button" }, "Keep image and labels");
  send.onclick = async () => {
    send.disabled = true;
    try {
      await correct(one.file, boxes.filter(([, box]) => box.checked).map(([name]) => name), [...passed]);
      one.kept = true;
      draw(one);
    } catch (error) { send.disabled = false; say(fault(error)); }
  };
  wrong.append(make("p", { class: "lead" }, "What is right? The image and these labels are then kept by whoever runs this page, for training, with the day; not your name, nor what the file says of its place and time."),
    make("div", { class: "choices" }, ...boxes.map(([name, box]) => make("label", {}, box, " ", name))), make("p", {}, send));
  return wrong;
}

// Thresholds -----------------------------------------------------------------------------------------------------

function sliders() {
  thresholds = { ...model.thresholds };
  const rows = Object.keys(thresholds).length ? model.names.map((name) => {
    const value = thresholds[name];
    const shown = make("output", {}, value.toFixed(2));
    const slider = make("input", { type: "range", min: "0", max: "1", step: "0.01", value: String(value) });
    slider.oninput = () => {
      thresholds[name] = Number(slider.value);
      shown.textContent = thresholds[name].toFixed(2);
      for (const one of tried) if (one.answer) draw(one);
      report();
    };
    return make("label", { class: "threshold" }, make("span", {}, name), slider, shown);
  }) : [];
  byId("thresholds").replaceChildren(...rows);
  byId("deciding").hidden = !model.decides;
}

// CSV ------------------------------------------------------------------------------------------------------------

function cell(value) {
  let text = String(value);
  if (typeof value !== "number" && /^[=+\-@\t]/.test(text)) text = `'${text}`; // no formula for a spreadsheet
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const answered = tried.filter((one) => one.answer);
  if (!answered.length) { say("There is no answer to download yet."); return; }
  const { probabilities, points: places, numbers } = answered[0].answer;
  const radii = (points) => points.filter((p) => "radius" in p);
  const also = ["prediction_set", "known"].filter((name) => answered.some(({ answer }) => name in answer));
  const head = probabilities ? ["fname", "predicted", ...model.names]
    : places ? ["fname", ...places.flatMap((p) => [`${p.name}_x`, `${p.name}_y`]), ...radii(places).map((p) => `${p.name}_radius`)] : ["fname", ...Object.keys(numbers)];
  const rows = answered.map(({ name, answer }) => [name, ...(
    answer.probabilities ? [found(answer).join(";"), ...model.names.map((each) => answer.probabilities[each])]
      : answer.points ? [...answer.points.flatMap((p) => [p.x, p.y]), ...radii(answer.points).map((p) => p.radius ?? "")]
        : Object.values(answer.numbers))]);
  const more = answered.map(({ answer }) => also.map((name) => (Array.isArray(answer[name]) ? answer[name].join(";") : answer[name] ?? "")));
  const lines = [[...head, ...also], ...rows.map((row, at) => [...row, ...more[at]])].map((row) => row.map(cell).join(","));
  const link = make("a", { download: "answers.csv", href: URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// The rest -------------------------------------------------------------------------------------------------------

function listen() {
  for (const id of ["files", "camera"])
    byId(id).onchange = (event) => { add([...event.target.files]); event.target.value = ""; };
  const drop = byId("drop");
  for (const kind of ["dragover", "dragenter"])
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    add([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  byId("reset").onclick = () => { sliders(); for (const one of tried) if (one.answer) draw(one); report(); };
  byId("csv").onclick = csv;
  byId("clear").onclick = () => {
    for (const one of tried) for (const url of [one.url, one.seen]) if (url) URL.revokeObjectURL(url);
    tried.length = waiting.length = 0;
    byId("gallery").replaceChildren();
    byId("after").hidden = true;
    say("");
  };
}

start(() => {
  programs();
  sliders();
  listen();
});
