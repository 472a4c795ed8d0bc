'use strict';
/* exported $, act, attempt, element, on, seconds -- the page that includes this file uses them */
// What the pages of all demos share: the state that the server sends, actions, elements. No build step, nothing from elsewhere.

const $ = (id) => document.getElementById(id);

/** Calls show(state) with each state that the server sends. While it is away, the body has the class "away". */
function on(show) {
  const events = new EventSource('/events');
  events.onmessage = (event) => {
    document.body.classList.remove('away');
    show(JSON.parse(event.data));
  };
  events.onerror = () => document.body.classList.add('away');
}

/** Calls an action of the demo. */
async function act(name, given = {}) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`/do/${name}`, { method: 'POST', headers, body: JSON.stringify(given) });
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

/** The same for a button, which rests meanwhile; an error is shown in the element "wrong". */
async function attempt(button, ...call) {
  button.disabled = true;
  $('wrong').textContent = '';
  try {
    await act(...call);
  } catch (error) {
    $('wrong').textContent = error.message;
  }
  button.disabled = false;
}

/** An element; texts are inserted as text, never as HTML. */
function element(tag, className = '', ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** "0.184 s", "12.3 ms", "4 µs" */
function seconds(ms) {
  if (ms >= 100) return `${(ms / 1000).toFixed(ms >= 10000 ? 1 : ms >= 1000 ? 2 : 3)} s`;
  if (ms >= 1) return `${ms.toFixed(ms >= 10 ? 0 : 1)} ms`;
  return `${Math.round(ms * 1000)} µs`;
}
