// Opens the portal without a click. A program that only reads the page, to show what a link leads to, does not use it up.

document.getElementById("open")?.submit();
