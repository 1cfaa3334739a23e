// Who is signed in: kept in localStorage, so that all tabs of a browser are the same person.

const KEY = "chat.session";

export function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

export function keep(session) {
  localStorage.setItem(KEY, JSON.stringify(session));
  return session;
}

export function forget() {
  localStorage.removeItem(KEY);
}

async function ask(options) {
  const response = await fetch("/sign-in", { method: "POST", ...options });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return keep(answer);
}

export const signIn = (name) =>
  ask({ headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name }) });

// A new token for the same person, for one that is still good.
export async function renew() {
  const { token } = await ask({ headers: { Authorization: `Bearer ${load()?.token}` } });
  return token;
}

// Another tab signed out, or signed in as somebody else.
export function onChangedElsewhere(changed) {
  addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) changed(load());
  });
}
