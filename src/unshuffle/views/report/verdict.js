// How it ended, the figures, and the answer.

const BADGES = { exact: "good", approximate: "doubt", ambiguous: "doubt", estimate: "doubt" };

function showVerdict(content) {
  const { verdict, record, blocks } = content;
  const { outcome } = verdict;
  element("outcome").textContent = outcome;
  if (BADGES[outcome]) element("outcome").classList.add(BADGES[outcome]);
  element("shape").textContent = counted(blocks.length, "block");
  element("advice").textContent = verdict.advice;
  const facts = {
    "Mean squared error": short(verdict.mse),
    "Maximum absolute error": short(verdict.maxAbsError),
    "Over": counted(verdict.rows, "row"),
    ...(record && { "Record": recordText(record) }),
    ...verdict.facts,
    "Search": `${counted(verdict.tested, "candidate")} tested, ${counted(verdict.kept, "move")} kept`,
    "Time": `${short(verdict.seconds)} s`,
    "SHA-256 of the answer": verdict.sha256,
  };
  for (const [name, value] of Object.entries(facts)) {
    const fact = make("div", value.length > 40 ? "wide" : "");
    fact.append(make("dt", "", name), make("dd", "", value));
    element("facts").append(fact);
  }
  element("permutation").value = orderText(content, blocks);
  element("copy").addEventListener("click", copyPermutation);
}

function recordText({ name, rows, predicted, width, outputs, targets }) {
  const known = `${predicted === rows ? "each" : counted(predicted, "row")} with ${counted(outputs, "prediction")}`;
  return `${name}: ${counted(rows, "row")} of ${counted(width, "input")}, ${known}${targets ? ", with targets" : ""}`;
}

/** Copy the answer; where the browser withholds its clipboard, select it and copy as of old. */
async function copyPermutation() {
  const field = element("permutation");
  let copied = true;
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select();
    copied = document.execCommand("copy");
  }
  element("copied").textContent = copied ? "Copied" : "Selected: copy it with the keyboard";
  setTimeout(() => { element("copied").textContent = ""; }, 4000);
}
