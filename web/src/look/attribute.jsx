// Direct logit attribution: what each part wrote for one token and against another.
import { address } from "../address.js";
import { DIVERGING, signed } from "./colours.js";
import { Frame } from "./frame.jsx";
import { useInspect } from "./inspect.js";
import { Bars, Parts } from "./parts.jsx";
import { Scale, useScale } from "./scale.jsx";
import { Tokens } from "./tokens.jsx";
import { named, visible } from "./visible.js";

const LARGEST = 10;
const fixed = (values) => values.map((value) => value.toFixed(3));
const SIGNS = { "⏎": "\n", "·": " ", "⇥": "\t" };

/** What is typed for a token as the API wants it: its text, or its id behind "#"; else undefined. */
const tokenOf = (typed) =>
  /^#\d+$/.test(typed) ? Number(typed.slice(1)) : typed?.replace(/[⏎·⇥]/g, (sign) => SIGNS[sign]);

/** `look` is what is seen above: its text is looked at here, once the model has read it. */
export function Attribute({ look: ablated, off, toggle, put }) {
  const { model, prompt, parts } = JSON.parse(ablated.request);
  const { a, b, position: place } = address();
  const { losses, tokens } = ablated.data;
  const last = tokens.ids.length - 1;
  const position = /^\d+$/.test(place) && place <= last ? Number(place) : last;
  const request = { view: "contributions", position, a: tokenOf(a), b: tokenOf(b) };
  const { data, ...look } = useInspect({ id: model }, prompt, request);
  const largest = data?.parts.toSorted((p, q) => Math.abs(q.value) - Math.abs(p.value)) ?? [];
  const most = Math.abs(largest[0]?.value) || 1;
  const scale = useScale(-most, most, DIVERGING);
  const [nameA, nameB] = data ? [named(data.a.text), named(data.b.text)] : ["A", "B"];
  const cells = data?.parts.map(({ name, value }) => ({
    name, tell: signed(value) + (off.has(name) ? ", ablated above" : ""), text: signed(value, 2),
    style: scale.style(value), off: off.has(name),
    toggle: /H\d+$|MLP$/.test(name) ? () => toggle(name) : null,
  }));
  const bars = largest.slice(0, LARGEST).map(({ name, value }) => ({
    key: name, name, value: signed(value), bar: <Signed share={value / most} scale={scale} />,
  }));
  const controls = (
    <div class="switches">
      {["a", "b"].map((name) => ( // believed when it is left: half of a token is another, or none
        <label key={name}>Token {name.toUpperCase()}
          <input class="number" defaultValue={visible(address()[name] ?? "")} spellcheck={false}
            autocomplete="off" placeholder={visible(data?.[name].text ?? "")}
            onChange={({ target }) => put({ [name]: target.value || null })} />
        </label>
      ))}
      <span class="small">Empty: the likeliest two. ⏎ newline, · blank, #42 the token with id 42.</span>
    </div>
  );
  return (
    <Frame name="attribute" title="Attribute" controls={controls}
      look={{ data, ...look, waiting: look.waiting || ablated.problem !== null }}
      question="Which parts decided between two tokens?"
      legend={<>
        {data && <Scale scale={scale} label={`Logits, for ${nameB} or for ${nameA}:`} tell={signed} />}
        <p>A part’s contribution is what it wrote at this position, through the final layer norm (its
          divisor as it was), times the difference of the two tokens’ embeddings; all of the model is
          on. “bias” is a layer’s attention bias. A click on a head or an MLP ablates it above.</p>
      </>}>
      {data && <>
        <div>
          <h3>After which token?</h3>
          <Tokens tokens={data.tokens} current={data.position} label="Position"
            onPick={(position) => put({ position })} />
        </div>
        <p class="sum">
          The parts sum to <b class="total">{signed(data.total)}</b>; the logits of {nameA} and
          {` ${nameB}`} differ by <b class="difference">{signed(data.difference)}</b>.
        </p>
        <div class="halves">
          <div>
            <h3>By part, in logits</h3>
            <Parts label="Contributions of the parts" cells={cells} />
            {parts.length > 0 && losses[0] !== null && (
              <p class="small ablated">Off above: {parts.join(", ")}; loss {fixed(losses).join(" → ")}</p>
            )}
          </div>
          <Bars title={`The largest ${bars.length}`} rows={bars} />
        </div>
      </>}
    </Frame>
  );
}

/** A bar from the middle to the side of its sign, as long as its share of the half. */
function Signed({ share, scale }) {
  const [side, end] = share < 0 ? ["right", scale.from] : ["left", scale.to];
  const style = { [side]: "50%", width: `${50 * Math.abs(share)}%`, ...scale.style(end) };
  return <span class="signed"><i class="bar" style={style} /></span>;
}
