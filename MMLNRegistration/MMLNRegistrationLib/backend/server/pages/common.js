// The token, which is asked for once and kept until the tab is closed, and requests that bear it.

const dialog = document.getElementById("sign-in");
const field = document.getElementById("token");
const trouble = document.getElementById("sign-in-trouble");
const leave = document.getElementById("leave");
const KEPT = "mmln-token";
let asking = null;

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The name of a device as the reports have it.
export function deviceText(name) {
  return name.replace(/^cpu/, "CPU");
}

export function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (count >= 1024 && power < units.length - 1) {
    count /= 1024;
    power += 1;
  }
  return `${power && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[power]}`;
}

// The token; asked for when there is none.
export async function token() {
  const kept = sessionStorage.getItem(KEPT);
  if (kept) return kept;
  asking ??= new Promise((resolve) => {
    leave.hidden = true;
    dialog.showModal();
    dialog.onclose = () => {
      asking = null;
      const given = field.value.trim();
      field.value = "";
      if (given) {
        sessionStorage.setItem(KEPT, given);
        leave.hidden = false;
        resolve(given);
      } else {
        resolve(token());
      }
    };
  });
  return asking;
}

export function forgetToken(sentence = "") {
  sessionStorage.removeItem(KEPT);
  trouble.textContent = sentence;
}

// A request with the token. Asks for another one where that is wrong; throws Refused for every other refusal.
export async function request(path, options = {}) {
  for (;;) {
    const given = await token();
    const headers = { ...options.headers, Authorization: `Bearer ${given}` };
    const answer = await fetch(path, { ...options, headers, cache: "no-store" });
    if (answer.status === 401) {
      if (sessionStorage.getItem(KEPT) === given) forgetToken("The server does not know this token.");
      continue;
    }
    trouble.textContent = "";
    if (!answer.ok) throw await refusal(answer.status, await answer.text());
    return answer;
  }
}

export function refusal(status, text) {
  try {
    return new Refused(status, JSON.parse(text).sentence);
  } catch {
    return new Refused(status, `The server answered with the error ${status}.`);
  }
}

dialog.addEventListener("cancel", (event) => event.preventDefault());
leave.hidden = !sessionStorage.getItem(KEPT);
leave.addEventListener("click", () => {
  forgetToken();
  location.reload();
});
