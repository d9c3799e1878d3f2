
// Asking the service ------------------------------------------------------------------------------------------------

const TRIES = 20;

// A request with the key: the user is asked where the service wants one; it is kept until the page is closed.
async function asked(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.status !== 401) return response;
  const given = prompt(key ? "This is not a key of the service. The key:" : "The service asks for a key:");
  if (!given) return response;
  sessionStorage.setItem("key", given.trim());
  return asked(path, options);
}

async function loadModel() {
  let response;
  try { response = await asked("model"); }
  catch { throw new Error("The service cannot be reached."); }
  if (!response.ok) throw new Error(await explained(response));
  return response.json();
}

async function post(path, body, headers = {}) {
  for (let n = 0; ; n++) {
    const response = await asked(path, { method: "POST", body, headers });
    if (response.status !== 503 || n >= TRIES) return response;
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((done) => setTimeout(done, 1000 * seconds * (0.5 + Math.random())));
  }
}

async function explained(response) {
  try { return (await response.json()).error || `The service answered ${response.status}.`; }
  catch { return `The service answered ${response.status}.`; }
}

const fault = (error) => (error instanceof TypeError ? "The service cannot be reached." : error.message);
