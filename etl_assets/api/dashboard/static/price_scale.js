/**
 * A scale on which a price of −40, one of 60 and a spike of 15,000 can all be read.
 *
 * Nearly straight up to some 50 AUD/MWh either side of zero, logarithmic beyond (the inverse hyperbolic sine).
 */

const KNEE = 50;
const TICKS = [-1000, -300, -100, -30, 0, 30, 100, 300, 1000, 3000, 10_000, 20_000];

/** Where a price lies on the scale. */
export function position(price) {
  return price === null ? null : Math.asinh(price / KNEE);
}

/** The scale's ticks for an axis of plotly: where they lie, and the prices that they stand for. */
export const priceTicks = {
  tickmode: "array",
  tickvals: TICKS.map(position),
  ticktext: TICKS.map((price) => price.toLocaleString("en-AU").replace("-", "\u2212")),
};
