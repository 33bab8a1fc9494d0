// The page of the notes. It has no token: the browser sends the session's cookie, which no script
// can read, to the API of the same site.

const find = id => document.getElementById(id);

// call asks the API, and shows what it answers.
async function call(method, body) {
  let answer;
  try {
    answer = await fetch("/api/notes", { method, body: body && JSON.stringify(body) });
  } catch {
    return say("The service does not answer. Try again.");
  }
  if (answer.status === 401) return askLogin(await answer.json());
  if (!answer.ok) return say("That did not work. Try again.");
  show(await answer.json());
  return true;
}

// askLogin shows the link to the login, which opens in this tab. The address comes with the 401, and
// leads back to this page.
function askLogin(problem) {
  find("login").href = problem.login_url;
  say("You are not signed in.");
  find("login").hidden = false;
  find("notes").hidden = find("logout").hidden = true;
  find("list").replaceChildren();
}

function show({ name, notes, logout_url }) {
  say(notes.length ? "" : "You have no notes yet.");
  find("name").textContent = name;
  find("logout").action = logout_url;
  find("list").replaceChildren(...notes.map(text => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  find("login").hidden = true;
  find("notes").hidden = find("logout").hidden = false;
}

function say(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}

// What was typed stays until the service has it.
find("add").addEventListener("submit", async event => {
  event.preventDefault();
  if (await call("POST", { text: find("text").value })) event.target.reset();
});

// A tab that comes back to the front asks who is signed in, which is no use of the session. If it is
// nobody any more, the API says where the login is.
addEventListener("visibilitychange", async () => {
  if (document.visibilityState !== "visible" || find("notes").hidden) return;
  const answer = await fetch("/auth/session").catch(() => null); // the next click will say it
  if (answer?.ok && await answer.json() === null) call("GET");
});

// A page that the back button restores shows what was there before a logout.
addEventListener("pageshow", event => { if (event.persisted) call("GET"); });

call("GET");
