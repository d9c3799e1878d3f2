"use strict";
const $ = (id) => document.getElementById(id);
const session = (sessionStorage.session ||= crypto.randomUUID());
const VIEWS = ["label", "images", "check", "copies", "finish"];
const KEYS = [..."123456789qwertyuiopasdfghjklzxcvbnm"];
let state = { version: -1, form: "", names: [], counts: {}, classes: [] };
let view = "label";
let current = null; // the image that is labelled
let ahead = []; // those after it
let draft = []; // of several classes those that are on; of points where they are
let asksAgain = false; // whether the first question is asked once more
let cameFrom = null; // the view from which an image was opened
let touched = false; // whether a person changed the draft
let point = 0; // which of the points is set next

// Talking to the studio

const GONE = "The studio does not answer. What you have decided is kept; start it again to continue.";

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, options).catch(() => { throw new Error(GONE); });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error || `The studio answered with ${answer.status}.`);
  return content;
}

function complain(error) {
  $("message").textContent = error.message;
  $("message").hidden = false;
}

function speak(text) { $("spoken").textContent = text; }

async function decide(decision) {
  try {
    const image = await ask("decide", { session, ...decision });
    settled.add(decision.image);
    $("message").hidden = true;
    return image;
  } catch (error) {
    complain(error);
    return null;
  }
}

let done = Promise.resolve(); // what was pressed is done in order, however quickly it comes
function afterAll(act) { done = done.then(act).catch(complain); }

async function follow() {
  for (;;) {
    try {
      const news = await ask(`state?session=${session}&since=${state.version}`);
      if (state.lost) $("message").hidden = true;
      if (news.version !== state.version) { const before = state; state = news; await renew(before); }
    } catch (error) {
      if (!state.lost) complain(error);
      state.lost = true;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

// What every view shows

const percent = (value) => value.toFixed(2).replace(/^0/, "");
const interval = (one) => `${percent(one.value)} (${percent(one.low)} to ${percent(one.high)})`;
const words = (label) => [].concat(label).join(", ") || "nothing"; // of one class or several
const plural = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

async function renew(before) {
  document.title = `${state.title} · foveal studio`;
  $("title").textContent = state.title;
  const looked = state.n_looked + Object.keys(state.refused).length;
  const seen = looked < state.n ? ` · looking at images, ${Math.floor((100 * looked) / state.n)}%` : "";
  const out = state.n_left_out ? ` · ${state.n_left_out.toLocaleString("en")} left out` : "";
  const bad = Object.keys(state.refused).length;
  $("progress").textContent = `${state.n_labelled.toLocaleString("en")} of ${plural(state.n, "image")} labelled${out}${bad ? ` · ${bad} cannot be read` : ""}${seen}`;
  $("back").disabled = !state.back;
  $("back").textContent = state.back ? `Undo: ${state.back}` : "Undo";
  $("n-issues").textContent = state.n_issues;
  $("n-issues").hidden = !state.n_issues;
  if (state.failure) complain(new Error(`The studio has failed (${state.failure}). What you have decided is kept; start it again.`));
  if (state.not_written) complain(new Error(`The table could not be written (${state.not_written}); it is tried again, and what you have decided is kept.`));
  else if (before.not_written) $("message").hidden = true;
  const begins = state.form === "" || asksAgain;
  $("again").hidden = state.form === "" || state.n_labelled > 0 || Boolean(state.back);
  $("begin").hidden = !begins;
  $("views").hidden = begins;
  if (begins) return VIEWS.forEach((name) => { $(name).hidden = true; });
  document.body.classList.toggle("pointing", state.form === "points");
  showStanding();
  if (before.form !== state.form || before.names.join("\n") !== state.names.join("\n")) { showChips(); showFilters(); }
  if (before.form !== state.form) { await open(view); return; }
  if (view === "label" && current === null) await next();
  if (view === "label" && current && !touched) await renewLabel();
  if (view === "check") await showIssue();
  if (view === "copies") await showCopies();
  if (view === "finish") showFinish();
}

async function open(name) {
  if (cameFrom && name !== "label") { cameFrom = null; current = null; }
  view = name;
  for (const one of VIEWS) $(one).hidden = one !== name;
  for (const button of document.querySelectorAll("nav button"))
    button.dataset.view === name ? button.setAttribute("aria-current", "page") : button.removeAttribute("aria-current");
  if (name === "label" && current === null) await next();
  if (name === "label") showImage();
  if (name === "images") await list(true);
  if (name === "check") await showIssue();
  if (name === "copies") await showCopies();
  if (name === "finish") { showFinish(); await showTraining(); }
}

function showStanding() {
  const { score, form } = state;
  $("score").textContent = score ? `${score.metric[0].toUpperCase()}${score.metric.slice(1)} ${score.unit ? `${score.value.toFixed(1)} (${score.low.toFixed(1)} to ${score.high.toFixed(1)}) ${score.unit}` : interval(score)}, on ${score.n.toLocaleString("en")} ${score.on}.${state.learned_from < state.n_labelled && state.form === "points" ? ` Learned from ${state.learned_from} here; training fully learns from all.` : ""}`
    : state.n_labelled < 5 ? "Label a few images, and a model learns from them as you go on." : state.learned_from ? "Working out how good the answers are." : "Learning; or the labels are too few, or all alike.";
  const sign = (value) => (value < 0 ? "−" : "+") + percent(Math.abs(value));
  $("gain").textContent = score && score.gain ? `Twice as many labels should bring ${sign(score.gain.value)} (${sign(score.gain.low)} to ${sign(score.gain.high)}).` : "";
  $("classes").hidden = form === "points" && !state.classes.length;
  $("of-class").textContent = form === "several" ? "average precision" : form === "points" ? "pixels" : "right";
  const of = Object.fromEntries(state.classes.map((one) => [one.name, one]));
  const row = (name) => {
    const line = document.createElement("tr");
    const known = of[name];
    const cells = [name, (form === "points" ? state.n_labelled : state.counts[name] || 0).toLocaleString("en"), ""];
    cells.forEach((text, at) => { const cell = line.insertCell(); cell.textContent = text; if (at) cell.className = "number"; });
    if (form !== "points" && !(state.counts[name] > 0) && state.names.length > 1) {
      const remove = document.createElement("button");
      remove.type = "button";
      remove.className = "remove";
      remove.textContent = "remove";
      remove.setAttribute("aria-label", `Remove the class ${name}`);
      remove.addEventListener("click", async () => { try { await ask("begin", { session, names: [], remove: name }); } catch (error) { complain(error); } });
      line.cells[2].append(remove);
    }
    if (known && known.value !== null) {
      line.cells[2].textContent = form === "points" ? known.value.toFixed(1) : percent(known.value);
      const bounds = document.createElement("span");
      bounds.className = "interval";
      bounds.textContent = form === "points" ? ` ${known.low.toFixed(1)}–${known.high.toFixed(1)}` : ` ${percent(known.low)}–${percent(known.high)}`;
      line.cells[2].append(bounds);
    }
    return line;
  };
  $("classes").tBodies[0].replaceChildren(...state.names.map(row));
}

// Labelling

function showChips() {
  const several = state.form === "several";
  $("done").hidden = state.form === "one";
  $("later-key").textContent = state.form === "points" ? "Space" : "→";
  $("add").hidden = state.form === "points";
  $("chips").replaceChildren(...state.names.map((name, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.name = name;
    if (several || state.form === "points") button.setAttribute("aria-pressed", "false");
    button.append(name);
    if (KEYS[at]) { const key = document.createElement("kbd"); key.textContent = KEYS[at].toUpperCase(); button.append(" ", key); }
    button.append(document.createElement("small"));
    button.addEventListener("click", () => afterAll(() => press(at)));
    return button;
  }));
}

const settled = new Set(); // what this page decided about, which an answer under way may still name
const isAhead = (one) => !settled.has(one.image) && (!current || one.image !== current.image);

async function next() {
  try {
    ahead = await ask(`next?session=${session}&k=6`);
  } catch (error) { complain(error); return; }
  ahead = ahead.filter(isAhead);
  take(ahead.shift() || null);
}

function take(image) {
  current = image;
  touched = false;
  point = 0;
  draft = drafted(image);
  for (const one of ahead.slice(0, 3)) new Image().src = `large/${one.image}`;
  showImage();
  if (image) speak(`${image.name}${inWords(image)}`);
}

function drafted(image) {
  if (!image) return [];
  if (state.form === "points") return state.names.map((_, at) => (image.label ? image.label[at] : image.answer && image.answer.points ? image.answer.points[at] : null));
  if (state.form === "several") return image.label ? [...image.label] : image.answer ? [...image.answer.label] : [];
  return [];
}

function inWords(image) {
  if (image.label && image.label.length && state.form !== "points") return `, labelled ${[].concat(image.label).join(", ")}`;
  return image.answer && image.answer.label && image.answer.label.length ? `, likely ${[].concat(image.answer.label).join(", ")}` : "";
}

async function renewLabel() { // what is proposed stays as it was shown; a label that another session gave is shown
  const before = current;
  try {
    const image = await ask(`images/${before.image}`);
    const same = JSON.stringify(image.label) === JSON.stringify(before.label) && image.left_out === before.left_out;
    if (current === before && !touched && !same) { current = image; draft = drafted(image); showImage(); }
  } catch (error) { complain(error); }
}

function showImage() {
  const none = current === null;
  $("all-done").hidden = !none || state.n_labelled + state.n_left_out < state.n - Object.keys(state.refused).length;
  for (const id of ["shown-frame", "chips"]) $(id).hidden = none;
  for (const id of ["later", "out", "done"]) $(id).disabled = none;
  $("name").textContent = none ? "" : current.name;
  if (none) { $("answered").textContent = ""; drawPoints(); return; }
  const source = `large/${current.image}`;
  if ($("shown-image").getAttribute("src") !== source) $("shown-image").src = source;
  $("shown-image").alt = current.name;
  const likely = current.answer && current.answer.likely ? current.answer.likely : [];
  $("out-text").textContent = current.left_out ? "Take in" : "Leave out";
  $("answered").textContent = current.left_out ? "left out; a label takes it in" : current.label !== null ? "labelled" : likely.length ? `likely ${likely.slice(0, 3).map(([name, p]) => `${name} ${percent(p)}`).join(", ")}` : "";
  const proposed = current.label === null && !touched && current.answer ? [].concat(current.answer.label || []) : [];
  for (const button of $("chips").children) {
    const name = button.dataset.name, at = state.names.indexOf(name);
    const on = state.form === "several" ? draft.includes(name) : state.form === "points" ? at === point : current.label === name;
    if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", on);
    else button.classList.toggle("main", on);
    button.classList.toggle("likely", state.form === "one" && proposed.includes(name));
    button.querySelector("small").textContent = state.form === "points" && draft[at] === null ? " not there" : "";
  }
  drawPoints();
}

async function press(at) {
  const name = state.names[at];
  if (!current || name === undefined) return;
  if (state.form === "points") { point = at; showImage(); return; }
  if (state.form === "several") {
    touched = true;
    draft = draft.includes(name) ? draft.filter((one) => one !== name) : [...draft, name];
    speak(`${name} ${draft.includes(name) ? "on" : "off"}`);
    showImage();
    return;
  }
  await finish(name);
}

async function finish(label) {
  const image = current;
  if (image && (await decide({ image: image.image, label })) !== null) { speak("kept"); await advance(); }
}

async function advance() {
  if (view !== "label") return;
  if (cameFrom) { await goBack(); return; }
  if (ahead.length > 1) { take(ahead.shift()); refill(); } else await next();
}

async function goBack() {
  const to = cameFrom;
  cameFrom = null;
  current = null;
  await open(to);
}

async function refill() {
  try {
    const more = await ask(`next?session=${session}&k=6`);
    ahead = more.filter(isAhead);
  } catch (error) { complain(error); }
}

async function later() {
  if (!current) return;
  try { await ask("later", { session, image: current.image }); } catch (error) { complain(error); }
  await advance();
}

async function leaveOut() {
  if (current && (await decide({ image: current.image, left_out: !current.left_out })) !== null) {
    speak(current.left_out ? "taken in" : "left out");
    await advance();
  }
}

async function undo() {
  try {
    const { images } = await ask("back", { session });
    for (const one of images) settled.delete(one);
    if (images.length && view === "label") { ahead = []; take(await ask(`images/${images[0]}`)); }
    if (view === "images") await list(true);
  } catch (error) { complain(error); }
}

// Points

function placed(prefix, size) {
  const box = $(`${prefix}-frame`).getBoundingClientRect();
  const scale = Math.min(box.width / size[0], box.height / size[1]);
  return { scale, left: (box.width - size[0] * scale) / 2, top: (box.height - size[1] * scale) / 2, box, size };
}

const onImage = () => (current && current.answer && current.answer.size ? placed("shown", current.answer.size) : null);

function draw(prefix, points, size, { now = -1, proposed = false } = {}) {
  const make = (kind, values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(values)) made.setAttribute(name, value);
    return made;
  };
  const where = size ? placed(prefix, size) : null;
  $(`${prefix}-marks`).replaceChildren(...(where && points ? points : []).flatMap((one, at) => {
    if (!one) return [];
    const cx = where.left + one[0] * where.scale, cy = where.top + one[1] * where.scale;
    const group = make("g", at === now ? { class: "now" } : {});
    const ring = proposed ? "ring proposed" : "ring";
    const text = make("text", { x: cx + 10, y: cy - 8 });
    text.textContent = state.names[at];
    group.append(make("circle", { cx, cy, r: 7, class: "halo" }), make("circle", { cx, cy, r: 7, class: ring }), make("circle", { cx, cy, r: 1, class: ring }), text);
    return [group];
  }));
}

function drawPoints() {
  const points = state.form === "points" && current;
  draw("shown", points ? draft : null, points && current.answer ? current.answer.size : null, { now: point, proposed: points && current.label === null && !touched });
}

function setPoint(event) {
  const where = onImage();
  if (!where) return;
  const x = (event.clientX - where.box.left - where.left) / where.scale, y = (event.clientY - where.box.top - where.top) / where.scale;
  draft[point] = [Math.min(Math.max(x, 0), where.size[0]), Math.min(Math.max(y, 0), where.size[1])].map((one) => Math.round(one * 10) / 10);
  touched = true;
}

function nudge(dx, dy) {
  const where = onImage();
  if (!where) return;
  const [x, y] = draft[point] || [where.size[0] / 2, where.size[1] / 2];
  draft[point] = [Math.min(Math.max(x + dx, 0), where.size[0]), Math.min(Math.max(y + dy, 0), where.size[1])];
  touched = true;
  speak(`${state.names[point]} ${Math.round(draft[point][0])}, ${Math.round(draft[point][1])}`);
  showImage();
}

// All images

const found = { n: 0, pages: new Map(), now: 0, asked: 0 };
const PAGE = 100;

function showFilters() {
  const chosen = $("of").value;
  const any = $("of").options[0];
  $("of").replaceChildren(any, ...(state.form === "points" ? [] : state.names.map((name) => new Option(name, name))));
  $("of").value = state.names.includes(chosen) ? chosen : "";
}

const query = () => `show=${encodeURIComponent($("show").value)}&of=${encodeURIComponent($("of").value)}&text=${encodeURIComponent($("text").value)}`;

async function page(number) {
  if (found.pages.has(number)) return;
  found.pages.set(number, null);
  const asked = found.asked;
  try {
    const part = await ask(`images?${query()}&start=${number * PAGE}&n=${PAGE}`);
    if (asked !== found.asked) return;
    found.n = part.n;
    found.pages.set(number, part.images);
    $("n-found").textContent = plural(found.n, "image");
    layOut();
  } catch (error) { found.pages.delete(number); complain(error); }
}

async function list(anew) {
  if (anew) { found.asked += 1; found.pages.clear(); $("rows").replaceChildren(); }
  await page(0);
}

function sizes() {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const narrow = matchMedia("(max-width: 50rem)").matches;
  const width = (narrow ? 8 : 10) * rem, height = (narrow ? 10 : 11.5) * rem;
  return { width, height, columns: Math.max(1, Math.floor($("rows").clientWidth / width)) };
}

function layOut() {
  const { width, height, columns } = sizes();
  $("rows").style.height = `${Math.ceil(found.n / columns) * height}px`;
  const first = Math.max(0, Math.floor($("grid").scrollTop / height) - 1) * columns;
  const last = Math.min(found.n, (Math.ceil(($("grid").scrollTop + $("grid").clientHeight) / height) + 1) * columns);
  const wanted = new Map();
  for (let at = first; at < last; at += 1) {
    const images = found.pages.get(Math.floor(at / PAGE));
    if (images === undefined) { page(Math.floor(at / PAGE)); continue; }
    if (images && images[at % PAGE]) wanted.set(at, images[at % PAGE]);
  }
  for (const tile of [...$("rows").children]) {
    const image = wanted.get(Number(tile.dataset.at));
    if (image && tile.dataset.image === String(image.image)) wanted.delete(Number(tile.dataset.at));
    else tile.remove();
  }
  for (const [at, image] of wanted) $("rows").append(tileOf(at, image));
  for (const tile of $("rows").children) {
    const at = Number(tile.dataset.at);
    tile.style.transform = `translate(${(at % columns) * width}px, ${Math.floor(at / columns) * height}px)`;
    tile.classList.toggle("now", at === found.now);
    tile.setAttribute("aria-selected", at === found.now);
    if (at === found.now) $("grid").setAttribute("aria-activedescendant", tile.id);
  }
}

function tileOf(at, image) {
  const tile = document.createElement("div");
  tile.className = image.left_out ? "tile out" : "tile";
  tile.id = `tile-${at}`;
  tile.setAttribute("role", "option");
  tile.dataset.at = at;
  tile.dataset.image = image.image;
  const shown = document.createElement("img");
  shown.src = `small/${image.image}`;
  shown.alt = "";
  const text = document.createElement("p");
  const label = image.label === null ? "" : state.form === "points" ? "points set" : words(image.label);
  text.textContent = label || image.name;
  tile.setAttribute("aria-label", `${image.name}${label ? `, ${label}` : ""}`);
  tile.title = image.name;
  tile.append(shown, text);
  tile.addEventListener("click", () => { found.now = at; openImage(image.image); });
  return tile;
}

async function openImage(number) {
  try {
    const image = await ask(`images/${number}`);
    cameFrom = view;
    take(image);
    await open("label");
  } catch (error) { complain(error); }
}

function move(step) {
  found.now = Math.min(Math.max(found.now + step, 0), found.n - 1);
  const { height, columns } = sizes();
  const top = Math.floor(found.now / columns) * height;
  const grid = $("grid");
  if (top < grid.scrollTop) grid.scrollTop = top;
  if (top + height > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + height - grid.clientHeight;
  layOut();
  const images = found.pages.get(Math.floor(found.now / PAGE));
  if (images) speak(images[found.now % PAGE].name);
}

// Labels that are probably wrong

let issue = null;

async function showIssue({ settled: isSettled = false } = {}) {
  $("expected").textContent = state.expected_wrong;
  try {
    if (issue !== null && !isSettled) { // what somebody is looking at stays, unless it was decided elsewhere
      const now = await ask(`images/${issue.image}`);
      if (!now.left_out && JSON.stringify(now.label) === JSON.stringify(issue.label)) return;
    }
    const issues = await ask("issues");
    issue = issues.find((one) => !isSettled || one.image !== issue.image) || null;
  } catch (error) { complain(error); return; }
  $("issue").hidden = issue === null;
  $("no-issues").hidden = issue !== null;
  if (issue === null) return;
  const instead = state.form === "points" ? "as answered" : words(issue.instead);
  const label = state.form === "points" ? "as it is" : words(issue.label);
  $("question").textContent = `${issue.issues.map(({ given, suggested, confidence }) => `${!given ? `${suggested} missing?` : !suggested ? `no ${given}?` : `${given}, or ${suggested}?`} (${confidence})`).join(" · ")}`;
  const points = state.form === "points";
  $("issue-image").src = `large/${issue.image}`;
  $("issue-image").alt = issue.name;
  $("issue-name").textContent = `${issue.name}: ${label}`;
  const like = points ? issue : issue.like;
  $("like").hidden = like === null;
  if (like) {
    $("like-image").src = `large/${like.image}`;
    $("like-image").alt = like.name;
    $("like-name").textContent = points ? "as answered" : `for comparison, ${like.name}: ${words(like.label)}`;
  }
  const size = points && issue.answer ? issue.answer.size : null;
  draw("issue", points ? issue.label : null, size);
  draw("like", points ? issue.instead : null, size, { proposed: true });
  $("accept").replaceChildren(`Make it ${instead} `, key("A"));
  const answered = issue.answer ? issue.answer.label : null;
  const differs = (one) => JSON.stringify([].concat(one || [])) !== JSON.stringify([].concat(answered || []));
  $("as-answered").hidden = state.form !== "several" || answered === null || !differs(issue.instead) || !differs(issue.label);
  if (answered !== null && state.form === "several") $("as-answered").replaceChildren(`Make it ${words(answered)} `, key("S"));
  $("reject").replaceChildren(`Keep ${label} `, key("K"));
}

function key(text) { const made = document.createElement("kbd"); made.textContent = text; return made; }

async function settle(decision) {
  if (issue && (await decide({ image: issue.image, ...decision })) !== null) { speak("kept"); await showIssue({ settled: true }); }
}

// Copies, and what does not belong

let pair = null, strange = null;

async function showCopies() {
  let copies;
  try { copies = await ask("copies"); } catch (error) { complain(error); return; }
  const isSame = (one) => pair && one.first.image === pair.first.image && one.second.image === pair.second.image;
  pair = copies.pairs.find(isSame) || copies.pairs[0] || null;
  strange = pair ? null : copies.unlike.find((one) => strange && one.image === strange.image) || copies.unlike[0] || null;
  $("look-for").disabled = copies.state === "looking";
  $("looking").hidden = copies.state !== "looking";
  $("looking").value = copies.done;
  $("pair").hidden = pair === null;
  $("strange").hidden = strange === null;
  $("no-copies").hidden = copies.state !== "found" || pair !== null || strange !== null;
  if (copies.state === "looking" && view === "copies") setTimeout(() => view === "copies" && showCopies(), 500);
  const put = (prefix, image) => {
    $(`${prefix}-image`).src = `large/${image.image}`;
    $(`${prefix}-image`).alt = image.name;
    const label = image.label === null || state.form === "points" ? "" : `: ${words(image.label)}`;
    $(`${prefix}-name`).textContent = `${image.name}${label}${image.side ? ` (${image.side})` : ""}`;
  };
  if (pair) {
    const leak = pair.first.side && pair.second.side && pair.first.side !== pair.second.side;
    $("pair-question").textContent = `${pair.how[0].toUpperCase()}${pair.how.slice(1)}${leak ? ", on both sides of the split" : ""} · ${plural(copies.pairs.length, "pair")} to decide`;
    put("first", pair.first);
    put("second", pair.second);
  }
  $("looking-text").textContent = copies.state === "looking" ? `${Math.floor(100 * copies.done)}% of the images compared` : "";
  $("no-copies").textContent = copies.pairs.length || copies.unlike.length ? "" : "No copies, and nothing that does not belong, are left to decide about.";
  if (strange) {
    $("strange-question").textContent = `No copies are left. Does this one belong here? It is unlike the rest · ${plural(copies.unlike.length, "image")} to decide`;
    put("strange", strange);
  }
}

async function resolve(decision) {
  if ((await decide(decision)) !== null) { speak("kept"); await showCopies(); }
}

// Finish

function showFinish() {
  $("written").textContent = state.written ? `${plural(state.n_labelled, "labelled image")} in ${state.written}.${state.why_beside ? ` The table that was opened stays as it is, for ${state.why_beside}.` : ""}` : "Nothing was decided yet, so nothing is written.";
  $("train").disabled = state.n_labelled === 0;
}

async function showTraining() {
  let run;
  try { run = await ask("train"); } catch (error) { complain(error); return; }
  const known = Boolean(run.state);
  $("log").hidden = !known;
  $("train").disabled = run.state === "at work" || state.n_labelled === 0;
  $("hand-over").hidden = run.state !== "done";
  if (!known) return;
  $("trained").textContent = { "at work": "Training …", done: "Trained. The report says how well it does.", failed: "It has failed; the last lines say why." }[run.state];
  $("log").textContent = [`$ ${run.command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ")}`, ...run.lines].join("\n");
  $("commands").textContent = `foveal serve ${run.model}\nfoveal predict ${run.model} IMAGES\nfoveal export ${run.model}`;
  if (run.state === "at work" && view === "finish") setTimeout(() => view === "finish" && showTraining(), 1000);
}

for (const [format, text] of [["csv", "CSV"], ["jsonl", "JSON lines"], ["parquet", "Parquet"], ["coco", "COCO"], ["label-studio", "Label Studio"]]) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", async () => {
    try {
      const { n, path, unreadable } = await ask("export", { format });
      const lacking = unreadable.length ? ` Without ${plural(unreadable.length, "image")} that cannot be read, such as ${unreadable[0]}.` : "";
      $("exported").textContent = `${plural(n, "image")} written to ${path}.${lacking}`;
    } catch (error) { complain(error); }
  });
  $("exports").append(button);
}

// Keys and clicks

document.addEventListener("click", (event) => { // after a click with a pointer the keys are those of the view again
  if (event.detail && event.target.closest("button")) document.activeElement.blur();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("begin").hidden === false) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing) {
    if (event.key === "Escape") {
      if (event.target.id === "find") { event.target.value = ""; filterChips(); }
      event.target.blur();
    }
    if (event.key === "Enter" && event.target.id === "text") { event.preventDefault(); $("grid").focus(); }
    return;
  }
  const onButton = event.target.matches("button, a") && (event.key === "Enter" || event.key === " ");
  if (onButton) return;
  if (view === "label" && event.key === "/" && state.form !== "points") { event.preventDefault(); $("find").focus(); return; }
  if (shortcuts(event) === null) return;
  event.preventDefault();
  afterAll(() => { const act = shortcuts(event); return act && act(); }); // of the image that is shown by then
});

const ACTS = { // of the buttons
  back: undo,
  done: () => current && finish(draft),
  later,
  out: leaveOut,
  accept: () => settle({ label: issue.instead }),
  "as-answered": () => settle({ label: issue.answer.label }),
  reject: () => settle({ is_right: true }),
  edit: () => openImage(issue.image),
  "issue-out": () => settle({ left_out: true }),
  "out-first": () => resolve({ image: pair.first.image, left_out: true }),
  "out-second": () => resolve({ image: pair.second.image, left_out: true }),
  both: () => resolve({ image: pair.first.image, together_with: pair.second.image }),
  "strange-out": () => resolve({ image: strange.image, left_out: true }),
  "strange-in": () => resolve({ image: strange.image, is_right: true }),
};
const BUTTONS = { // by view and key, those that are to be seen
  check: { a: "accept", s: "as-answered", k: "reject", e: "edit", Delete: "issue-out" },
  copies: { 1: "out-first", 2: "out-second", b: "both", Delete: "strange-out", k: "strange-in" },
};

function shortcuts(event) {
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (name === "Backspace") return undo;
  if (view === "label") {
    if (name === "Delete") return leaveOut;
    if (name === "Escape" && cameFrom) return goBack;
    if (state.form === "points") {
      const far = event.shiftKey ? 10 : 1;
      const steps = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
      if (steps[name]) return () => nudge(...steps[name]);
      if (name === "0") return () => { draft[point] = null; touched = true; point = Math.min(point + 1, draft.length - 1); showImage(); };
      if (name === " ") return later;
    } else if (name === "ArrowRight") return later;
    if (name === "Enter" && state.form !== "one") return () => finish(draft);
    if (name === "Enter" && current && current.answer && current.answer.label) return () => finish(current.answer.label);
    if (KEYS.includes(name)) return () => press(KEYS.indexOf(name));
  }
  if (view === "images") {
    const { columns } = sizes();
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: 4 * columns, PageUp: -4 * columns, Home: -found.n, End: found.n };
    if (steps[name]) return () => move(steps[name]);
    if (name === "Enter") return () => { const images = found.pages.get(Math.floor(found.now / PAGE)); if (images) openImage(images[found.now % PAGE].image); };
  }
  const id = (BUTTONS[view] || {})[name];
  return id && $(id).checkVisibility() ? ACTS[id] : null;
}

for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => open(button.dataset.view));
for (const [id, act] of Object.entries(ACTS)) $(id).addEventListener("click", () => afterAll(act));
$("look-for").addEventListener("click", async () => { try { await ask("look-for-copies", {}); } catch (error) { complain(error); } await showCopies(); });
$("train").addEventListener("click", async () => { try { await ask("train", {}); } catch (error) { complain(error); } await showTraining(); });
const listFromTop = () => { $("grid").scrollTop = 0; found.now = 0; list(true); };
for (const id of ["show", "of"]) $(id).addEventListener("change", listFromTop);
let typed = 0;
$("text").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(listFromTop, 200); });
$("filter").addEventListener("submit", (event) => event.preventDefault());
let waiting = false;
$("grid").addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; layOut(); }); } });
addEventListener("resize", () => { if (view === "images") layOut(); if (view === "label" && current) drawPoints(); });
let dragging = false;
$("shown-frame").addEventListener("pointerdown", (event) => {
  if (state.form !== "points" || !current || event.button) return;
  dragging = true;
  $("shown-frame").setPointerCapture(event.pointerId);
  setPoint(event);
  showImage();
});
$("shown-frame").addEventListener("pointermove", (event) => { if (dragging) { setPoint(event); drawPoints(); } });
$("shown-frame").addEventListener("pointerup", () => {
  if (!dragging) return;
  dragging = false;
  const open = draft.findIndex((one, at) => at > point && one === null);
  if (open >= 0) point = open;
  showImage();
});
function filterChips() {
  const wanted = $("find").value.trim().toLowerCase();
  for (const button of $("chips").children) button.hidden = !button.dataset.name.toLowerCase().includes(wanted);
  $("adding").textContent = "";
}
$("find").addEventListener("input", filterChips);
$("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = $("find").value.trim();
  if (!wanted) return;
  const there = state.names.filter((name) => name.toLowerCase().includes(wanted.toLowerCase()));
  const exact = state.names.find((name) => name.toLowerCase() === wanted.toLowerCase());
  if (!exact && there.length > 1) { $("adding").textContent = `${there.length} classes match.`; return; }
  if (!exact && !there.length && !$("adding").textContent.startsWith("New")) {
    $("adding").textContent = `New: Enter again adds ${wanted}.`;
    speak($("adding").textContent);
    return;
  }
  $("find").value = "";
  filterChips();
  $("find").blur();
  if (exact || there.length === 1) { await press(state.names.indexOf(exact || there[0])); return; }
  try {
    const news = await ask("begin", { session, names: [wanted] });
    const before = state;
    state = news;
    await renew(before);
    await press(state.names.indexOf(wanted));
  } catch (error) { complain(error); }
});
$("begin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const names = $("begin-names").value.split(/[,\n]/).map((name) => name.trim()).filter(Boolean);
  try {
    await ask("begin", { session, names, task: new FormData($("begin-form")).get("kind") });
    asksAgain = false;
    $("message").hidden = true;
  } catch (error) { complain(error); }
});
$("again").addEventListener("click", () => { asksAgain = true; current = null; renew(state); });
follow();
