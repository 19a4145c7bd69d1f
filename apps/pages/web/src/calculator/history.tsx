import { clock, iso, short } from "../kit/ui";
import type { Step } from "./api";

/** History lists a value's events, the latest first. */
export function History(props: { steps: Step[] | null; more: boolean; onMore: () => void }) {
  return (
    <div class="history">
      <h3 id="history-title">History</h3>
      {props.steps === null && <p class="quiet">Reading the events…</p>}
      {props.steps !== null && (
        <table aria-labelledby="history-title">
          <thead>
            <tr>
              <th scope="col">Event</th>
              <th scope="col" class="right">
                Result
              </th>
              <th scope="col" class="wide">
                Time
              </th>
              <th scope="col" class="wide">
                Command
              </th>
            </tr>
          </thead>
          <tbody>
            {props.steps.map((step) => (
              <tr key={step.number} class="new" data-event={step.event}>
                <td>
                  {words(step)}
                  <span class="narrow quiet small">{clock(step.at)}</span>
                </td>
                <td class="right number">{step.result}</td>
                <td class="wide">
                  <time dateTime={iso(step.at)}>{clock(step.at)}</time>
                </td>
                <td class="wide">
                  <code title={step.command}>{short(step.command)}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {props.more && (
        <button type="button" class="plain" onClick={props.onMore}>
          Earlier events
        </button>
      )}
    </div>
  );
}

function words(step: Step): string {
  if (step.action === "ValueCreated") return `Created with ${step.operand}`;
  if (step.operation === "ADD") return `Added ${step.operand}`;
  if (step.operation === "MULTIPLY") return `Multiplied by ${step.operand}`;
  return `${step.action} ${step.operand}`;
}
