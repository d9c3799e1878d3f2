"use strict";
// What every page needs, beside `loadModel` and `fault`, which its source of answers has. Everything that comes from the model or from a file's name is put on the page as text, never as markup.

const byId = (id) => document.getElementById(id);
let model = null;

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick" || name === "oninput") element[name] = value;
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function table(head, rows) {
  const body = rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, String(cell)))));
  const parts = head.some((name) => name)
    ? [make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name))))] : [];
  return make("table", {}, ...parts, make("tbody", {}, ...body));
}

// The rest -------------------------------------------------------------------------------------------------------

function card() {
  const parts = model.card.sections.flatMap((section) => [make("h2", {}, section.title), table(section.head, section.rows)]);
  byId("title").textContent = model.card.title;
  document.title = `${model.card.title} · foveal`;
  byId("lead").textContent = model.card.lead;
  byId("card").replaceChildren(...parts);
}

// Texts are by what they are called, such as "curl".
function snippets(texts) {
  byId("snippets").replaceChildren(...Object.entries(texts).map(([name, text]) => {
    const copy = make("button", { type: "button", class: "small" }, "Copy");
    copy.hidden = !navigator.clipboard; // which a browser has for pages of this machine and over https only
    copy.onclick = async () => { await navigator.clipboard.writeText(text); copy.textContent = "Copied"; };
    return make("div", {}, make("h2", {}, name, " ", copy), make("pre", {}, text));
  }));
}

// Fill what all pages have, then call `begin`, which fills the rest.
async function start(begin) {
  try {
    model = await loadModel();
  } catch (error) {
    byId("lead").textContent = fault(error);
    byId("lead").className = "error";
    return;
  }
  card();
  begin();
}
