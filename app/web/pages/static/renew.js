// Renews what a page shows while it changes. What has the keyboard's focus is left alone; the page says when it is over.

import { guardForms } from "./console.js";

async function renew() {
  const shown = document.getElementById("fresh");
  if (shown.dataset.over) return clearInterval(timer);
  if (document.hidden || shown.contains(document.activeElement) || shown.querySelector("details[open]")) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return; // signed out meanwhile: the next click leads to the sign-in page
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("fresh");
    if (fresh) shown.replaceWith(document.adoptNode(fresh));
    if (fresh) guardForms(fresh);
  } catch {
    // The network is away; the next time may be better.
  }
}

const timer = setInterval(renew, Number(document.getElementById("fresh").dataset.renew));
