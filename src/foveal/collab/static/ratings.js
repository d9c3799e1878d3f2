
// Ratings: pick what you like, or name a user; recommendations follow at once ---------------------------------------

const PAGE = 10, MOST = 100, POPULAR = 8, MATCHES = 12, PAUSE = 120; // items, and milliseconds without a key
const picked = []; // { id, title, rating }; a rating of null means that it is liked
let wanted = PAGE, latest = 0, delay = 0;

const isNew = () => document.querySelector("input[name=who]:checked").value === "new";
const nameOf = (item) => item.title || String(item.id);
const titled = (item, tag = "span") => make(tag, { class: "title", dir: "auto", title: nameOf(item) }, nameOf(item));
const inText = (item) => make("bdi", {}, nameOf(item));

async function answered(response) {
  if (!response.ok) throw new Error(await explained(response));
  return response.json();
}

const send = (path, body) => post(path, JSON.stringify(body), { "Content-Type": "application/json" }).then(answered);

async function searched(query, limit) {
  const address = new URLSearchParams({ q: query, limit: String(limit) });
  return (await asked(`items?${address}`).then(answered)).items;
}

function later(work) {
  clearTimeout(delay);
  delay = setTimeout(work, PAUSE);
}

// Search: a text field with a list of matches (a combobox of WAI-ARIA) ------------------------------------------------

function picker(input, choose) {
  const list = byId(input.getAttribute("aria-controls"));
  let items = [], listed = "", active = -1, asked = 0, timer = 0; // `listed`: the query that found the items

  const close = () => { list.hidden = true; input.setAttribute("aria-expanded", "false"); mark(-1); };

  function mark(at) {
    active = at;
    [...list.children].forEach((option, n) => option.setAttribute("aria-selected", String(n === at)));
    if (at < 0) { input.removeAttribute("aria-activedescendant"); return; }
    input.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  }

  function take(item, query) {
    if (input.value.trim() === query) { // nothing was typed meanwhile
      asked++; // a search that is still under way must not open the list again
      clearTimeout(timer);
      input.value = "";
      items = [];
      close();
    }
    choose(item);
  }

  async function look() {
    const query = input.value.trim(), mine = ++asked;
    if (!query) { items = []; close(); return; }
    let rest;
    try {
      const matches = await searched(query, MATCHES);
      if (mine !== asked) return;
      [items, listed] = [matches, query];
      rest = items.length ? [] : ["Nothing is called that."];
    } catch (error) {
      if (mine !== asked) return;
      items = [];
      rest = [fault(error)];
    }
    list.replaceChildren(...items.map((item, at) => {
      const option = make("li", { role: "option", id: `${list.id}-${at}`, "aria-selected": "false" }, titled(item));
      option.onmousedown = (event) => event.preventDefault(); // the field keeps the focus
      option.onclick = () => take(item, input.value.trim());
      return option;
    }), ...rest.map((text) => make("li", { class: "no-match", role: "presentation" }, text)));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(-1);
  }

  input.oninput = () => { asked++; clearTimeout(timer); timer = setTimeout(look, PAUSE); };
  input.onblur = close;
  async function press(key) {
    const move = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (move) {
      if (list.hidden && input.value.trim()) await look();
      if (items.length) mark((Math.max(active, move < 0 ? 0 : -1) + move + items.length) % items.length);
    } else if (key === "Enter") {
      const query = input.value.trim();
      if (active < 0 && query && (list.hidden || listed !== query)) { // what is listed may be of a shorter text
        const first = await searched(query, 1).catch(() => []);
        if (first.length) take(first[0], query); else look();
      } else if (query && items.length) take(items[Math.max(0, active)], query);
    } else close();
  }

  let pressed = Promise.resolve(); // a key waits for the one before it, which may still be searching
  input.onkeydown = (event) => {
    const isOurs = ["ArrowDown", "ArrowUp", "Enter"].includes(event.key) || (event.key === "Escape" && !list.hidden);
    if (event.isComposing || !isOurs) return;
    event.preventDefault();
    pressed = pressed.then(() => press(event.key));
  };
}

// What somebody new likes -------------------------------------------------------------------------------------------

function scale() {
  const step = [model.low, model.high].every(Number.isInteger) ? 1 : 0.5;
  const n = Math.round((model.high - model.low) / step);
  const fits = n >= 1 && n <= 20 && [model.low, model.high].every((value) => Number.isInteger(value / step));
  return fits ? Array.from({ length: n + 1 }, (_, at) => model.high - at * step) : [];
}

function ratingField(one) {
  const values = scale(), name = { "aria-label": `Your rating of ${nameOf(one)}` };
  const set = (text) => { one.rating = text === "" ? null : Number(text); refresh(); };
  if (!values.length) {
    const field = make("input", { type: "number", min: model.low, max: model.high, step: "any", placeholder: "liked",
      value: one.rating ?? "", ...name });
    field.onchange = () => { if (field.reportValidity()) set(field.value); };
    return field;
  }
  const field = make("select", name, make("option", { value: "" }, "liked"),
    ...values.map((value) => make("option", { value: String(value) }, String(value))));
  field.value = one.rating === null ? "" : String(one.rating);
  field.onchange = () => set(field.value);
  return field;
}

function pick(item) {
  if (!picked.some((one) => one.id === item.id)) picked.push({ ...item, rating: null });
  byId("search").focus();
  change();
}

function change() {
  byId("picked").replaceChildren(...picked.map((one) => {
    const remove = make("button", { type: "button", "aria-label": `Remove ${nameOf(one)}` }, "×");
    remove.onclick = () => { picked.splice(picked.indexOf(one), 1); byId("search").focus(); change(); };
    return make("li", {}, titled(one), ...(model.takes_ratings ? [ratingField(one)] : []), remove);
  }));
  byId("empty").hidden = picked.length > 0;
  byId("clear").hidden = picked.length === 0;
  wanted = PAGE;
  refresh();
}

async function popular() {
  const items = await searched("", POPULAR);
  byId("popular").replaceChildren(...items.map((item) => {
    const button = make("button", { type: "button" }, titled(item));
    button.onclick = () => pick(item);
    return button;
  }));
  return items;
}

// Recommendations ---------------------------------------------------------------------------------------------------

function request() {
  const wishes = { k: wanted };
  if (Number(byId("diverse").value)) wishes.diverse = Number(byId("diverse").value);
  if (byId("by").value !== "ranking") wishes.by = byId("by").value;
  if (byId("seen").checked) wishes.seen = true;
  if (!isNew()) return { user: byId("user").value.trim(), ...wishes };
  const rated = picked.filter((one) => one.rating !== null), liked = picked.filter((one) => one.rating === null);
  if (liked.length) wishes.liked = liked.map((one) => one.id);
  if (rated.length) wishes.ratings = Object.fromEntries(rated.map((one) => [String(one.id), one.rating]));
  return wishes;
}

function reason(items) {
  const rated = items.some((item) => picked.some((one) => one.id === item.id && one.rating !== null));
  const verb = model.reads === "liked" ? "liked" : isNew() ? (rated ? "rated" : "liked") : "had";
  const titles = items.flatMap((item, at) => (at ? [" and ", inText(item)] : [inText(item)]));
  return make("div", { class: "because" }, `because ${isNew() ? "you" : "they"} ${verb} `, ...titles);
}

function row(one) {
  const [, item, rating] = model.columns;
  const named = { id: one[item], title: item === "title" ? null : one.title };
  const element = make("li", { "data-id": String(named.id) }, titled(named));
  if (model.has_ratings && one[rating] !== null)
    element.append(make("div", { class: "rating" }, make("b", {}, one[rating].toFixed(2)), make("span", {}, ` ${rating}`)));
  if (one.because.length) element.append(reason(one.because));
  return element;
}

function show(rows, note, kind = "lead") {
  byId("list").replaceChildren(...rows);
  byId("status").textContent = note;
  byId("status").className = kind;
  byId("more").hidden = rows.length < wanted || wanted >= MOST;
}

function nothingYet() {
  if (!isNew()) return byId("user").value.trim() ? "" : `Name a ${model.columns[0]} to see what suits them.`;
  if (!model.ranks && !model.takes_ratings) return "This model recommends to users of training only.";
  if (!picked.length) return "Pick something you like, and what suits you is listed here.";
  return model.ranks || picked.some((one) => one.rating !== null) ? "" : "Rate what you picked: this model ranks by ratings.";
}

async function refresh() {
  const mine = ++latest, byRating = byId("by").querySelector("[value=rating]");
  byRating.disabled = isNew() && !(model.places_by_rating && picked.some((one) => one.rating !== null));
  if (byRating.disabled) byId("by").value = "ranking";
  const lacking = nothingYet();
  if (lacking) { show([], lacking); return; }
  try {
    const { recommended, unknown } = await send("recommend", request());
    if (mine !== latest) return; // another one is under way
    const rated = model.has_ratings && recommended.some((one) => one[model.columns[2]] !== null);
    const hint = rated ? ` The number is the predicted ${model.columns[2]}, ${model.low} to ${model.high}.`
      : isNew() && model.places_by_rating ? " Rate what you picked to see predicted ratings." : "";
    if (unknown) {
      show(recommended.map(row), `Training did not know this ${model.columns[0]}: these are the most popular.`);
      return;
    }
    show(recommended.map(row), recommended.length ? `${recommended.length} that suit ${isNew() ? "you" : "them"} best.${hint}` : "There is nothing left to recommend.");
  } catch (error) {
    if (mine === latest) show([], fault(error), "error");
  }
}

async function predict(item) {
  const [user, , rating] = model.columns, place = byId("answer");
  if (!byId("user").value.trim()) { place.replaceChildren(make("p", { class: "error" }, `Which ${user}?`)); return; }
  try {
    const { answers: [answer] } = await send("predict", { user: byId("user").value.trim(), item: item.id });
    const unknown = answer.unknown.length
      ? [make("p", { class: "warning" }, `Not known from training: ${answer.unknown.join(", ")}. The answer is what is left without it.`)] : [];
    place.replaceChildren(make("p", {}, inText(item), make("br"), make("b", {}, `${rating} ${answer[rating].toFixed(2)}`)), ...unknown);
  } catch (error) {
    place.replaceChildren(make("p", { class: "error" }, fault(error)));
  }
}

// The rest ----------------------------------------------------------------------------------------------------------

function program(items) {
  const address = new URL("recommend", location.href).href, search = new URL("items?q=", location.href).href;
  const body = JSON.stringify(model.ranks ? { liked: items.slice(0, 2).map((item) => item.id), k: 5 }
    : { [model.columns[0]]: "...", k: 5 });
  snippets({ curl: `curl -H 'Content-Type: application/json' -d '${body.replaceAll("'", "'\\''")}' '${address}'`,
    "curl, search": `curl '${search}...'`,
    Python: `import json, urllib.request\n\nbody = json.loads(${JSON.stringify(body)})\nrequest = urllib.request.Request(\n    "${address}",\n    data=json.dumps(body).encode(),\n    headers={"Content-Type": "application/json"},\n)\nprint(json.load(urllib.request.urlopen(request)))` });
}

function switchWho() {
  byId("new").hidden = !isNew();
  byId("known").hidden = isNew();
  byId("seen-label").hidden = isNew();
  if (isNew()) byId("seen").checked = false;
  wanted = PAGE;
  refresh();
}

start(() => {
  const [user, item, rating] = model.columns;
  byId("user-name").textContent = user;
  if (!model.has_titles) byId("search").placeholder = item;
  document.querySelector("label[for=which]").textContent = model.has_ratings
    ? `Which ${rating} would they give to one? Search for it` : "How likely are they to have one? Search for it";
  byId("diverse-label").hidden = !model.ranks;
  byId("by-label").hidden = !(model.ranks && model.has_ratings);
  picker(byId("search"), pick);
  picker(byId("which"), predict);
  for (const choice of document.querySelectorAll("input[name=who]")) choice.onchange = switchWho;
  byId("user-form").onsubmit = (event) => { event.preventDefault(); wanted = PAGE; refresh(); };
  byId("diverse").oninput = () => later(refresh);
  for (const id of ["by", "seen"]) byId(id).onchange = refresh;
  byId("more").onclick = () => { wanted = Math.min(MOST, wanted + PAGE); refresh(); };
  byId("clear").onclick = () => { picked.length = 0; byId("search").focus(); change(); };
  switchWho();
  popular().then(program).catch((error) => show([], fault(error), "error"));
});
