// Who is signed in: kept in localStorage, so that all tabs of a browser are the same person.

const KEY = "chat.session";

export function load() {
  try {
    return JSON.parse(localStorage.getItem(KEY));
  } catch {
    return null;
  }
}

// The server's answer says how long the session lasts; half of that is a good time to renew it.
export function keep({ token, person, expires_in }) {
  const session = { token, person, renewAt: Date.now() + expires_in * 500 };
  localStorage.setItem(KEY, JSON.stringify(session));
  return session;
}

export function forget() {
  localStorage.removeItem(KEY);
}

export async function signIn(name) {
  const response = await fetch("/sign-in", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ name }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return keep(answer);
}

// Another tab signed out, or signed in as somebody else.
export function onChangedElsewhere(changed) {
  addEventListener("storage", (event) => {
    if (event.key === KEY || event.key === null) changed(load());
  });
}
