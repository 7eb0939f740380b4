// What the console's pages do besides links and forms: copy, confirm, jump to the search.
// Every page works without this file; it only saves steps.

const COPIED_MILLISECONDS = 1500;

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => (button.textContent = before), COPIED_MILLISECONDS);
  });
}

// Browsers show no dialogs of a frame: there the question stands beside the button, and a second press is the answer.
function agreed(form) {
  if (window.top === window) return confirm(form.dataset.confirm);
  if (form.dataset.asked) return true;
  form.dataset.asked = "yes";
  const words = document.createElement("p");
  words.className = "notice warm asked";
  words.setAttribute("role", "alert");
  words.textContent = `${form.dataset.confirm} Press the button once more to do it.`;
  form.append(words);
  return false;
}

// Forms of a part of the page, which may have come later (renew.js), ask before they are sent.
// Sent once: a second click while the first is on its way is not a second retry.
export function guardForms(part) {
  for (const form of part.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!agreed(form)) event.preventDefault();
    });
  }
  for (const form of part.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", (event) => {
      if (!event.defaultPrevented) setTimeout(() => form.querySelectorAll("button").forEach((it) => (it.disabled = true)));
    });
  }
}

guardForms(document);
addEventListener("pageshow", () => document.querySelectorAll("form[method=post] button").forEach((it) => (it.disabled = false)));

// Empty filters stay out of the address.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) if (value === "") formData.delete(name);
  });
}

// On a phone the navigation scrolls sideways.
document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

addEventListener("keydown", (event) => {
  const search = document.querySelector("input[type=search]");
  const typing = event.target.matches("input, select, textarea");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey || !search) return;
  event.preventDefault();
  search.closest("details")?.setAttribute("open", "");
  search.focus();
});
