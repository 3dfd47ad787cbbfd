"""What the words of a report mean, and the exit codes: what ``portproof explain`` prints."""

from __future__ import annotations

#: Heading to word to what it means: a paragraph or two of plain text, ten lines at most on a hundred columns.
EXPLANATIONS: dict[str, dict[str, str]] = {
    "Verdicts": {
        "identical": (
            "Every bit of the two sides is the same. A layer whose honest error is zero (ReLU, max-pool, a "
            "concatenation, a reshape) has to be identical; for others it is luck, or the same kernel. It holds: "
            "exit 0."
        ),
        "equivalent": (
            "The two differ by no more than honest rounding makes: at most 32 noise floors at every tensor that was "
            "judged. It holds: exit code 0. No tolerance was chosen by hand for it; `portproof explain floors`."
        ),
        "divergent": (
            "The two are not one function, or a precision, an export or a runtime computes something else than it "
            "should: exit code 1.\n\n"
            "Read the first hop that says so, since it names whose fault it is: float64 the port, float32 one side, "
            "the graph the exporter, the runtime the runtime. Then read the culprits, which name the module and "
            "what to do. `portproof verify --report report.html` shows the same as a map of the network."
        ),
        "inconclusive": (
            "This check could not have seen a fault, so it proves nothing: exit code 3. Mostly an output hardly "
            "moves with the input under the given weights (a dead or saturated layer), or two runs of one side "
            "differ.\n\n"
            "The notes of the report say which. Judge without --weights (the check then makes weights under which "
            "every channel matters), give --images that the model reacts to, or switch off what draws random "
            "numbers."
        ),
        "unavailable": (
            "It could not run, and the reason stands beside it: a package, a provider, a device or a float64 kernel "
            "that is not there. Exit code 4 where something that was asked for is missing. It is never a pass. "
            "`portproof doctor` lists what is here and the line that installs the rest."
        ),
        "contended": (
            "A benchmark's answer where other work on the machine moved the numbers more than the difference that "
            "was to be told. Exit code 3. Close what else runs, or give it more rounds: `portproof bench run "
            "--budget 10m`."
        ),
    },
    "How it is judged": {
        "port": (
            "A pair of models that must be the same function: a factory for Paddle, one for PyTorch, the inputs, "
            "the outputs, and how the names of the two state dicts correspond where they differ. It is a few lines "
            "of Python; `portproof init --from-models my_torch.py:Net my_paddle.py:Net` writes them."
        ),
        "side": (
            "Paddle or torch: one of the two models of a port, with all that is made of it (its export, its runners)."
        ),
        "hop": (
            "One step of the chain from Paddle to PyTorch to both exports to the runtime. Each is judged by itself, "
            "so that a wrong answer names the export, the optimiser or the runtime, and not 'ONNX'."
        ),
        "oracle": (
            "The float64 run that everything else is held against: torch's where both sides have a model. Right "
            "ports agree in float64 to about 1e-15 of a tensor's scale, so that a wrong one cannot hide; what "
            "float32 does is then judged by how far it is from the oracle."
        ),
        "floors": (
            "The unit of every comparison. A noise floor is the error that honest float32 rounding makes at that "
            "very tensor, measured against float64 in the same run (the smaller of the two sides'), and carried to "
            "the precision of the hop. An error of 1 floor is what rounding does; more than 32 is a divergence.\n\n"
            "4e+12 floors is a bug whatever the tensor. Between 32 and a few hundred, look at what is special about "
            "the layer first. How large a difference is acceptable is therefore measured, never guessed."
        ),
        "ULP": (
            "Unit in the last place: the distance between two neighbouring numbers of a precision. The column "
            "counts how many such steps the worst element is away. It is shown; the floors decide."
        ),
        "max abs": "The largest absolute difference of an element at the worst tensor. It is shown; the floors decide.",
        "worst": (
            "The tensor at which a hop errs by the most floors. It is often an output, or the module that is named."
        ),
        "tap": "A named intermediate tensor: the input or the output of a module, recorded while a model runs.",
        "capture": (
            "One run of one side on disk: inputs, outputs, weights and where they come from. `portproof capture` "
            "makes one in each environment, `portproof compare` judges two, so that Paddle and torch need not share "
            "a machine."
        ),
        "runner": (
            "One way to execute a side: torch eager, torch.compile, Paddle Inference, ONNX Runtime on either "
            "export, OpenVINO. `portproof ports` lists them; verify --runners judges them, bench run times the very "
            "same ones."
        ),
        "replay": (
            "How the place of a fault is found: each module of one side is run on the other side's input and hands "
            "on the other side's output. So an error shows in the module that has it and nowhere behind it, and "
            "several are found in one pass."
        ),
        "lifted": (
            "A request for float32 inside a model (a .float(), a scalar that Paddle keeps in float32), which the "
            "float64 oracle is spared: it computes that part in float64, too. Neither is a fault in a float32 "
            "deployment. What was lifted is said; a cast to less than float32 is a fault and never lifted."
        ),
        "given weights": "The checkpoint of --weights. The port is judged on it and on sensitised weights, too.",
        "loud": (
            "A row of the inputs that is scaled well beyond unit variance, so that clipping shows: ReLU6 beside "
            "ReLU is the same function until an activation passes 6."
        ),
    },
    "What the check can see": {
        "sensitised": (
            "Weights that the check makes itself: normalised from data, channel by channel, so that every channel "
            "of every layer matters to every output, with biases and affine parameters drawn non-trivially.\n\n"
            "Under fresh or dead weights a wrong model often puts out the same as a right one: a freshly "
            "initialised GoogLeNet's logits hardly depend on the image, and 158 of 258 planted faults passed a "
            "tolerance of 1e-3. So each port is judged on these, whatever weights are given."
        ),
        "sight": (
            "How much the check could have seen on this port: faults are planted into it on purpose, and the line "
            "counts how many of them were caught and how many were located at exactly the right modules. `portproof "
            "faults` plants hundreds; what was missed is named."
        ),
        "planted fault": (
            "A deliberate defect put into one side (a padding, an eps, two channels exchanged, a cast), to measure "
            "what the check can see. `portproof faults` plants them; they never touch your files."
        ),
        "located": "A planted fault that was caught, and whose named culprits are exactly the modules that had it.",
        "unseen": (
            "A module that has no partner on the other side, so that it could not be replayed on the other's input. "
            "It is judged only through the modules around it. Give the pair in the port's taps: {'torch.path': "
            "'paddle.path'}."
        ),
        "blind": (
            "A module whose output is constant over the inputs, so that a fault in it could not have shown. Other "
            "--images or another --seed may move it; a dead layer of given weights stays dead."
        ),
        "without effect": "A planted fault that moves no output: it changes nothing, so that it counts neither way.",
    },
    "What is found": {
        "culprit": (
            "The first place where a fault enters, as side and module path, with the file and line of its code on "
            "both sides and what differs in how the two were built. Modules that differ by one cause are one "
            "finding.\n\n"
            "Its kind says what to look for: computes, wiring, signature, saturates, raises, weights, setting, "
            "precision, unsteady, export, runtime, graph, training. Each is a word of `portproof explain`."
        ),
        "organised otherwise": (
            "Parts that differ inside a whole which is the same function: one side fuses two layers, splits a "
            "projection, reshapes earlier. Where the outputs of a whole agree in float64, how it is organised "
            "inside is its author's business. It is no fault, and decides nothing."
        ),
        "latent": (
            "A module that is another function on inputs that it never gets here (it clips from a value on that is "
            "not reached, say). It reaches no output, so that it decides nothing; --strict makes a fault of it. "
            "Look at it before the model meets other inputs."
        ),
        "accepted deviation": (
            "A difference that the port's author has looked at and keeps: accepted={'module': Accepted(bound, "
            "'reason')}. It is printed with every verdict, and one that no longer occurs (STALE) fails the run."
        ),
        "known deviation": (
            "A difference of the frameworks themselves, which is computed and taken into account (a float32 "
            "reciprocal in Paddle's backward pass, say). What is left beyond it is judged as everything else."
        ),
        "computes": (
            "On the same input the module returns something else. What differs in how the two were built stands "
            "behind it ('padding is 1 in torch and 0 in Paddle'); nothing behind it: compare the code of the two "
            "forwards. --module PATH judges that module alone."
        ),
        "wiring": (
            "The module hands one of its parts another input than the other side does, and every module before it "
            "agrees. So it is the code between the parts: the order of a concatenation, a missing activation, a "
            "permuted axis. Look at the forward of the module that is named."
        ),
        "signature": (
            "The two sides call the module with, or get from it, tensors of another number or shape. If that is "
            "meant, name the right pair in the port's taps."
        ),
        "saturates": (
            "The two agree until the input is larger than it is here: a clip, or an activation with another limit "
            "(ReLU6 beside ReLU)."
        ),
        "raises": "The module's forward raises on a shape that the other side takes. Run it alone on that shape.",
        "weights": (
            "A tensor has no equal on the other side, or one of another shape. The map is a strict bijection: "
            "rename the pair in WeightMap(rename={'torch.path': 'paddle.path'}), or leave it out with ignore={name: "
            "reason}. `portproof map` finds the whole map without reading a name, and proves it; `portproof "
            "account` prints it."
        ),
        "setting": (
            "Built otherwise in a way that no run in evaluation can show: a dropout rate, BatchNorm's momentum. "
            "Both sides would put out the same and learn otherwise."
        ),
        "precision": "The module errs in float32 by more than float32 rounds: look for a cast to less in it.",
        "unsteady": (
            "Two runs of this side on the same rows differ: it draws random numbers (a dropout whose training flag "
            "nothing sets) or keeps something between calls. Switch it off in evaluation."
        ),
        "export": "The exporter writes nodes that compute something else than the model. No runtime was asked.",
        "runtime": (
            "The runtime computes something else than the graph says; where its optimiser did it, the pass is named."
        ),
        "graph": "Nodes of an exported graph that compute something else, judged by a float64 interpreter.",
        "training": "Losses, gradients, optimiser, weights or statistics differ; the step and the part are named.",
        "accepted": "An acceptance of the port that no longer occurs. Take it out.",
    },
    "Weights and maps": {
        "proven map": (
            "A weight map under which both sides agree in float64 with all weights random and distinct: no other "
            "pairing of the tensors would. `portproof map` finds and proves one without reading a name, and --write "
            "puts it into the port's file."
        ),
        "unproven": (
            "Paired by evidence and not by proof: by shapes, by order, or by likeness of names. The target of a "
            "conversion says so, too. `portproof convert --port PORT --verify` proves it with both models."
        ),
        "left out": "A tensor that has no equal and need not have one, with the reason that the port gives.",
    },
    "Exit codes": {
        "0": "It holds, or the command did what it was asked. Never for something that did not run.",
        "1": (
            "It does not hold: a divergence, a regression, a culprit. Nothing else ends with 1, so that CI can "
            "trust it. `portproof explain divergent` says how to read it."
        ),
        "2": (
            "Bad usage or bad input: an argument, a file, a factory that raises. One line on standard error says "
            "what was expected, what was found and what to do. Nothing was judged, and no file was half written."
        ),
        "3": "Undecided: inconclusive, or a machine too busy to measure. `portproof explain inconclusive`.",
        "4": (
            "Unavailable: a framework, provider, device or memory that was asked for is not there. `portproof "
            "doctor` says what is here, what truly loads, and the line that installs the rest."
        ),
        "70": (
            "A bug in portproof, and no verdict. Please open an issue with what was printed and the output of "
            "`portproof doctor --json -`; see SECURITY.md where a stranger's file did it."
        ),
        "129": "The terminal closed (HUP). What was kept so far is whole; --resume goes on where a command has it.",
        "130": "Somebody pressed Ctrl-C. What was kept so far is whole; --resume goes on where a command has it.",
        "141": "Nobody read standard output any more (`portproof … | head`).",
        "143": "The system asked the process to end (TERM: a time limit of CI, say). What was kept so far is whole.",
    },
}

#: Other spellings, each to a word above.
ALIASES = {
    "floor": "floors", "noise floor": "floors", "noise floors": "floors", "tolerance": "floors", "32": "floors",
    "sensitized": "sensitised", "sensitised weights": "sensitised", "sensitized weights": "sensitised",
    "organized otherwise": "organised otherwise", "organised": "organised otherwise",
    "planted": "planted fault", "planted faults": "planted fault", "fault": "planted fault",
    "caught": "sight", "located exactly": "located", "culprits": "culprit", "not paired": "unseen",
    "latent difference": "latent", "accepted deviations": "accepted deviation", "stale": "accepted deviation",
    "proven": "proven map", "map": "proven map", "float64": "oracle", "hops": "hop", "chain": "hop",
    "taps": "tap", "captures": "capture", "runners": "runner", "ports": "port",
    "sides": "side", "ulps": "ULP", "max_abs": "max abs", "given": "given weights", "batch": "hop",
    "semantics": "oracle", "numerics": "floors", "gradients": "training", "scaled by 8": "loud", "bug": "70",
}  # fmt: skip
