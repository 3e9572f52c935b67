// Combine the answers of an ensemble's members by votes or means, as in conduit_lab/flow.
import { arrayOf } from "./arrays.js";
import { bestOf, emptyData, Failure, Prediction, Predictions, predictionOf, Tensor } from "./values.js";

const REDUCTIONS = {
  average: (column) => orderFreeSum(column) / column.length,
  maximum: (column) => Math.max(...column),
  minimum: (column) => Math.min(...column),
  weighted: (column, weights) => orderFreeSum(column.map((each, place) => each * weights[place])) / weights.reduce((sum, each) => sum + each, 0),
};

export function combine(name, answers, weights) {
  if (!Array.isArray(answers) || answers.length === 0) throw new Failure(`${name} expected at least one answer, got none`);
  if (weights && weights.length !== answers.length) throw new Failure(`weighted has ${weights.length} weights for ${answers.length} answers`);
  if (answers.every((each) => each instanceof Prediction || each instanceof Predictions)) return ofPredictions(name, answers, weights);
  const arrays = answers.map(arrayOf);
  if (arrays.some(({ shape }) => shape.join() !== arrays[0].shape.join())) throw new Failure(`${name} expected answers of one shape`);
  return name === "majority_vote" ? bestClass(arrays) : reduced(REDUCTIONS[name], arrays, weights, answers.some((each) => each instanceof Tensor));
}

function orderFreeSum(column) {
  return [...column].sort((a, b) => a - b).reduce((sum, each) => sum + each, 0);
}

// The mean of arrays, in their float dtype, or of numbers.
function reduced(reduce, arrays, weights, isArray) {
  const [{ dtype, shape, data }] = arrays;
  const kind = dtype.startsWith("float") ? dtype : "float64";
  const made = emptyData(kind, data.length);
  for (let place = 0; place < made.length; place += 1) made[place] = reduce(arrays.map((each) => Number(each.data[place])), weights);
  return isArray ? new Tensor(kind, shape, made) : made[0];
}

// The class with the most votes, from scores [classes]; ties go to the highest sum.
function bestClass(arrays) {
  if (arrays[0].shape.length !== 1 || !arrays[0].isFloat) throw new Failure("majority_vote runs in a browser on predictions and on scores [classes]");
  const votes = new Array(arrays[0].data.length).fill(0);
  for (const { data } of arrays) votes[bestOf(data)] += 1;
  const sums = votes.map((_, place) => orderFreeSum(arrays.map(({ data }) => data[place])));
  return BigInt(winner(votes, sums));
}

// The index with the highest `first`, then the highest `second`, then the earliest.
function winner(first, second) {
  const most = Math.max(...first);
  return bestOf(first.map((each, place) => (each === most ? second[place] : -Infinity)));
}

function ofPredictions(name, answers, weights) {
  const isSingle = answers.every((each) => each instanceof Prediction);
  const blocks = answers.map(blockOf);
  const rows = blocks[0].rows.length;
  if (blocks.some((each) => each.rows.length !== rows)) throw new Failure(`${name} expected as many predictions from each member`);
  const known = [...new Set(blocks.flatMap(({ labels }) => labels))];
  const labels = [...new Set([...known, ...blocks.flatMap(({ chosen }) => chosen)])];
  const made = [];
  const chosen = [];
  for (let row = 0; row < rows; row += 1) {
    const columns = labels.map((label) => blocks.map((block) => block.rows[row][block.labels.indexOf(label)] ?? 0));
    const votes = labels.map((label) => blocks.filter((block) => block.chosen[row] === label).length);
    const scores = columns.map((column) => (name === "majority_vote" ? REDUCTIONS.average(column) : REDUCTIONS[name](column, weights)));
    chosen.push(labels[name === "majority_vote" ? winner(votes, scores) : winner(scores, votes)]);
    made.push(Float64Array.from(scores.slice(0, known.length)));
  }
  return isSingle ? predictionOf(made[0], known, chosen[0]) : new Predictions(made, known, chosen);
}

function blockOf(answer) {
  if (answer instanceof Prediction) return { labels: answer.labels, rows: [answer.row], chosen: [answer.label] };
  return { labels: answer.labels, rows: answer.rows, chosen: answer.chosen ?? answer.rows.map((row) => answer.labels[bestOf(row)]) };
}
