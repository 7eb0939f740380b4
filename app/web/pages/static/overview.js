// Renews the overview's figures while somebody looks at them. What has the keyboard's focus, or is open, is left alone.

const RENEW_MILLISECONDS = 10_000;

async function renew() {
  const shown = document.getElementById("fresh");
  if (document.hidden || shown.contains(document.activeElement) || shown.querySelector("details[open]")) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok || answer.redirected) return; // signed out meanwhile: the next click leads to the sign-in page
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("fresh");
    if (fresh) shown.replaceWith(document.adoptNode(fresh));
    document.querySelector(".head time").replaceWith(document.adoptNode(page.querySelector(".head time")));
  } catch {
    // The network is away; the next time may be better.
  }
}

setInterval(renew, RENEW_MILLISECONDS);
