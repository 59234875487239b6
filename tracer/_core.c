/* The hottest path of the tracer, compiled: what span.py, passive.py, recorded.py and tracer.py do
 * in the plain case. Whatever is not plain is handed to the Python function of the same name with the same
 * arguments, so each rule is written once, in Python. tracer/core.py says when this is used; with
 * the interpreter lock only, for what lies between two calls must not be interrupted.
 *
 * The types here are bases of the Python classes and hold their slots, under the same names. Slots
 * are all objects, so that one function can visit, clear and free them.
 *
 * One file of more than 600 lines, since its functions inline each other and share one module's state;
 * two translation units would need both to be known outside. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <stddef.h>

/* -- the slots ---------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *carried, *prev, *tracer, *name;
} Span;

typedef struct {
    Span span;
    PyObject *known_span_id, *known_trace_id, *root;
} Passive;

typedef struct {
    Span span;
    PyObject *extra, *index, *kept, *kids, *offset, *rpc, *sid, *start, *tags, *duration_ns, *flags,
        *kind, *parent_id, *trace_id;
} Recorded;

typedef struct {
    PyObject_HEAD
    PyObject *pipeline, *scope, *scope_version;
} Tracer;

typedef struct {
    PyObject_HEAD
    PyObject *bits, *clock, *emit, *enabled, *keep_all, *now, *root_flags, *started, *unsampled;
} Pipeline;

#define FIRST_SLOT sizeof(PyObject)
#define SLOTS(object) ((PyObject **)((char *)(object) + FIRST_SLOT))
#define COUNT(structure) ((int)((sizeof(structure) - FIRST_SLOT) / sizeof(PyObject *)))
#define SLOT(structure, field, name) {name, T_OBJECT_EX, offsetof(structure, field), 0, NULL}

/* Functions for the garbage collector, which has to know how many slots there are. */
#define COLLECTED(structure)                                                                       \
    static int structure##_traverse(PyObject *self, visitproc visit, void *arg) {                  \
        Py_VISIT(Py_TYPE(self));                                                                   \
        for (int i = 0; i < COUNT(structure); i++)                                                 \
            Py_VISIT(SLOTS(self)[i]);                                                              \
        return 0;                                                                                  \
    }                                                                                              \
    static int structure##_clear(PyObject *self) {                                                 \
        for (int i = 0; i < COUNT(structure); i++)                                                 \
            Py_CLEAR(SLOTS(self)[i]);                                                              \
        return 0;                                                                                  \
    }                                                                                              \
    static void structure##_dealloc(PyObject *self) {                                              \
        PyTypeObject *type = Py_TYPE(self);                                                        \
        PyObject_GC_UnTrack(self);                                                                 \
        (void)structure##_clear(self);                                                             \
        type->tp_free(self);                                                                       \
        Py_DECREF(type);                                                                           \
    }

COLLECTED(Span)
COLLECTED(Passive)
COLLECTED(Recorded)
COLLECTED(Tracer)
COLLECTED(Pipeline)

/* -- what Python has told this module ----------------------------------------------------------- */

/* X(name here, key of provide()) */
#define PROVIDED(X)                                                                                \
    X(variable, "variable")           /* the ContextVar of tracer/current.py */                    \
    X(empty, "empty")                 /* what it holds where nothing is current */                 \
    X(current, "CURRENT")             /* the default of ``parent`` */                              \
    X(pipeline_class, "Pipeline")                                                                  \
    X(tracer_class, "Tracer")                                                                      \
    X(recorded_span, "RecordedSpan")                                                               \
    X(span_kind, "SpanKind")                                                                       \
    X(internal, "INTERNAL")           /* the kind of a span about which nothing is said */         \
    X(inherited, "INHERITED")         /* the flags a child has of its parent */                    \
    X(closed, "CLOSED")               /* what a finished span has for live tags */                 \
    X(complete, "complete")           /* sees to the rarer arguments of ``start_span`` */          \
    X(unsampled_root, "UnsampledRoot")                                                             \
    X(unsampled_child, "UnsampledChild")                                                           \
    X(noop, "NOOP")                   /* the span of a tracer that is off */                       \
    X(start_span, "Tracer.start_span") /* from here on: the reference functions */                 \
    X(span_enter, "Span.__enter__")                                                                \
    X(span_exit, "Span.__exit__")                                                                  \
    X(span_set_tag, "Span.set_tag")                                                                \
    X(recorded_exit, "RecordedSpan.__exit__")                                                      \
    X(recorded_set_tag, "RecordedSpan.set_tag")                                                    \
    X(recorded_finish, "RecordedSpan.finish")

/* X(name here, text) */
#define WORDS(X)                                                                                   \
    X(ahead) X(value) X(kind) X(tags) X(links) X(start_ns) X(offset_ns) X(span_id) X(rpc_id)

/* X(name here, number) */
#define NUMBERS(X) X(zero, 0) X(one, 1) X(id_bits, 64) X(trace_id_bits, 128)

typedef struct {
#define X(field, key) PyObject *field;
    PROVIDED(X)
#undef X
#define X(word) PyObject *word_##word;
    WORDS(X)
#undef X
#define X(field, number) PyObject *field;
    NUMBERS(X)
#undef X
    PyObject *no_rpc; /* the dotted id of a root */
} State;

static struct PyModuleDef module_definition;

/* The state that belongs to an instance of one of our types; NULL with an exception set. */
static inline State *state_of(PyObject *self) {
    PyObject *module = PyType_GetModuleByDef(Py_TYPE(self), &module_definition);
    return module == NULL ? NULL : (State *)PyModule_GetState(module);
}

/* The reference function, called as the method was. ``args`` has its first place before ``self``'s
 * arguments: a vectorcall of a method leaves none there, so they are copied. */
static PyObject *refer(PyObject *function, PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames) {
    PyObject *on_stack[10], **all = on_stack;
    Py_ssize_t given = nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    if (given + 1 > (Py_ssize_t)Py_ARRAY_LENGTH(on_stack)) {
        all = PyMem_New(PyObject *, given + 1);
        if (all == NULL)
            return PyErr_NoMemory();
    }
    all[0] = self;
    for (Py_ssize_t i = 0; i < given; i++)
        all[i + 1] = args[i];
    PyObject *result = PyObject_Vectorcall(function, all, nargs + 1, kwnames);
    if (all != on_stack)
        PyMem_Free(all);
    return result;
}

/* -- being current ------------------------------------------------------------------------------ */

/* What is current, as a new reference; NULL without an exception where it cannot be told here. */
static PyObject *get_current(State *state) {
    PyObject *found = NULL;
    if (PyContextVar_Get(state->variable, NULL, &found) < 0)
        PyErr_Clear();
    return found;
}

static PyObject *span_enter(PyObject *self, PyObject *Py_UNUSED(none)) {
    Span *span = (Span *)self;
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    if (span->prev != Py_None)
        return refer(state->span_enter, self, NULL, 0, NULL);
    PyObject *token = PyContextVar_Set(state->variable, self);
    if (token == NULL)
        return NULL;
    Py_SETREF(span->prev, token);
    return Py_NewRef(self);
}

/* Leaves the block of ``span`` where that is plain: true when it did. Nothing has changed else. */
static int left(State *state, Span *span) {
    PyObject *now = get_current(state);
    Py_XDECREF(now); /* compared only */
    if (now != (PyObject *)span || span->prev == NULL || !PyContextToken_CheckExact(span->prev))
        return 0;
    if (PyContextVar_Reset(state->variable, span->prev) < 0) {
        PyErr_Clear(); /* entered in another context, or several times */
        return 0;
    }
    Py_SETREF(span->prev, Py_NewRef(Py_None));
    return 1;
}

static PyObject *span_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames) {
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    if (nargs == 3 && kwnames == NULL && left(state, (Span *)self))
        Py_RETURN_NONE;
    return refer(state->span_exit, self, args, nargs, kwnames);
}

static PyObject *span_set_tag(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames) {
    if (nargs == 2 && kwnames == NULL)
        return Py_NewRef(self);
    State *state = state_of(self);
    return state == NULL ? NULL : refer(state->span_set_tag, self, args, nargs, kwnames);
}

/* -- starting ----------------------------------------------------------------------------------- */

/* The arguments of ``start_span``, borrowed; NULL for what was not given. */
typedef struct {
    PyObject *name, *kind, *parent, *tags, *links, *start_ns;
} Arguments;

/* Whether the start is plain: below what is current, with arguments that Python would accept. */
static int parsed(State *state, Arguments *found, PyObject *const *args, Py_ssize_t nargs,
                  PyObject *kwnames) {
    if (nargs < 1 || nargs > 6 || (nargs > 2 && args[2] != state->current))
        return 0;
    PyObject **places = (PyObject **)found;
    for (Py_ssize_t i = 0; i < nargs; i++)
        places[i] = args[i];
    if (kwnames == NULL)
        return 1;
    PyObject *known[] = {NULL, state->word_kind, NULL, state->word_tags, state->word_links,
                         state->word_start_ns};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        Py_ssize_t at = nargs; /* one that was given by position already is refused */
        while (at < 6 && known[at] != PyTuple_GET_ITEM(kwnames, i))
            at++;
        if (at == 6)
            return 0;
        places[at] = args[nargs + i];
    }
    return 1;
}

static Passive *new_passive(PyObject *class, PyObject *tracer, PyObject *name) {
    PyTypeObject *type = (PyTypeObject *)class;
    Passive *made = (Passive *)type->tp_alloc(type, 0);
    if (made != NULL) {
        made->span.tracer = Py_NewRef(tracer);
        made->span.name = Py_NewRef(name);
        made->span.prev = Py_NewRef(Py_None);
    }
    return made;
}

/* Counts a root that was turned down ahead (tracer/root_choice.py): 1 when there was one, 0 when
 * there was none, -1 on failure. Nobody else runs in between. */
static int taken_ahead(State *state, PyObject *count) {
    PyObject *ahead = PyObject_GetAttr(count, state->word_ahead);
    if (ahead == NULL)
        return -1;
    Py_ssize_t number = PyLong_CheckExact(ahead) ? PyLong_AsSsize_t(ahead) : -1;
    Py_DECREF(ahead);
    if (number <= 0) {
        PyErr_Clear(); /* it was no such number */
        return number == 0 ? 0 : -1;
    }
    PyObject *fewer = PyLong_FromSsize_t(number - 1);
    int failed = fewer == NULL || PyObject_SetAttr(count, state->word_ahead, fewer) < 0;
    Py_XDECREF(fewer);
    return failed ? -1 : 1;
}

static int count_one(State *state, PyObject *count) {
    PyObject *value = PyObject_GetAttr(count, state->word_value);
    PyObject *more = value == NULL ? NULL : PyNumber_Add(value, state->one);
    int failed = more == NULL || PyObject_SetAttr(count, state->word_value, more) < 0;
    Py_XDECREF(value);
    Py_XDECREF(more);
    return failed ? -1 : 1;
}

static PyObject *start_unsampled_child(State *state, PyObject *tracer, Pipeline *pipeline,
                                       PyObject *name, PyObject *root) {
    Passive *made = new_passive(state->unsampled_child, tracer, name);
    if (made == NULL)
        return NULL;
    made->root = Py_XNewRef(root);
    if (root == NULL || count_one(state, pipeline->unsampled) < 0)
        Py_CLEAR(made);
    return (PyObject *)made;
}

/* ``function()`` or ``function(argument)``, one of the pipeline's. */
static PyObject *call(PyObject *function, PyObject *argument) {
    if (function == NULL)
        return NULL;
    Py_INCREF(function); /* what is called may replace it */
    PyObject *result =
        argument == NULL ? PyObject_CallNoArgs(function) : PyObject_CallOneArg(function, argument);
    Py_DECREF(function);
    return result;
}

/* A recorded span with what does not depend on what is above. */
static Recorded *new_recorded(State *state, PyObject *tracer, Pipeline *pipeline,
                              const Arguments *given) {
    PyTypeObject *type = (PyTypeObject *)state->recorded_span;
    Recorded *made = (Recorded *)type->tp_alloc(type, 0);
    if (made == NULL)
        return NULL;
    made->span.tracer = Py_NewRef(tracer);
    made->span.name = Py_NewRef(given->name);
    made->span.prev = Py_NewRef(Py_None);
    made->kind = Py_NewRef(given->kind == NULL ? state->internal : given->kind);
    made->duration_ns = Py_NewRef(state->zero);
    made->kids = Py_NewRef(state->zero);
    made->extra = Py_NewRef(Py_None);
    made->tags = PyDict_New();
    made->offset = PyObject_GetAttr(pipeline->clock, state->word_offset_ns);
    if (made->tags == NULL || made->offset == NULL)
        Py_CLEAR(made);
    return made;
}

static int be_root(State *state, Recorded *made, Pipeline *pipeline) {
    made->span.carried = Py_NewRef(Py_None);
    made->sid = Py_NewRef(state->zero);
    made->parent_id = Py_NewRef(state->zero);
    made->flags = Py_NewRef(pipeline->root_flags);
    made->index = Py_NewRef(state->zero);
    made->rpc = Py_NewRef(state->no_rpc);
    made->trace_id = call(pipeline->bits, state->trace_id_bits);
    if (made->trace_id == NULL)
        return -1;
    int known = PyObject_IsTrue(made->trace_id);
    if (known == 0)
        Py_SETREF(made->trace_id, Py_NewRef(state->one));
    return known < 0 ? -1 : 0;
}

/* ``parent``, which is recorded and live, is above. */
static int be_child(State *state, Recorded *made, Recorded *parent, Pipeline *pipeline) {
    made->span.carried = Py_XNewRef(parent->span.carried);
    made->trace_id = Py_XNewRef(parent->trace_id);
    /* The rules for what a root leaves open are properties of the class. */
    made->parent_id = parent->sid == state->zero /* there is one object for a small number */
                          ? PyObject_GetAttr((PyObject *)parent, state->word_span_id)
                          : Py_XNewRef(parent->sid);
    made->rpc = parent->index == state->zero
                    ? Py_XNewRef(parent->rpc)
                    : PyObject_GetAttr((PyObject *)parent, state->word_rpc_id);
    made->sid = call(pipeline->bits, state->id_bits);
    if (made->parent_id == NULL || made->rpc == NULL || made->sid == NULL || made->trace_id == NULL ||
        parent->flags == NULL || parent->kids == NULL)
        return -1;
    made->flags = PyNumber_And(parent->flags, state->inherited);
    /* No two children get one number: nobody else runs in between. */
    made->index = PyNumber_Add(parent->kids, state->one);
    if (made->flags == NULL || made->index == NULL)
        return -1;
    Py_SETREF(parent->kids, Py_NewRef(made->index));
    return 0;
}

/* Reads the clock, and sees to the rarer arguments. */
static int begin(State *state, Recorded *made, Pipeline *pipeline, const Arguments *given) {
    made->start = call(pipeline->now, NULL);
    if (made->start == NULL)
        return -1;
    PyObject *rest[] = {(PyObject *)made, given->tags, given->links, given->start_ns};
    int rare = !PyUnicode_CheckExact(made->span.name) || pipeline->started != Py_None ||
               (made->kind != state->internal && (PyObject *)Py_TYPE(made->kind) != state->span_kind);
    for (int i = 1; i < 4; i++) {
        if (rest[i] == NULL)
            rest[i] = Py_None;
        rare |= rest[i] != Py_None;
    }
    if (!rare)
        return 0;
    PyObject *none = PyObject_Vectorcall(state->complete, rest, 4, NULL);
    Py_XDECREF(none);
    return none == NULL ? -1 : 0;
}

static PyObject *start_recorded(State *state, PyObject *tracer, Pipeline *pipeline,
                                Recorded *parent, const Arguments *given) {
    Recorded *made = new_recorded(state, tracer, pipeline, given);
    if (made == NULL)
        return NULL;
    int failed = parent == NULL ? be_root(state, made, pipeline)
                                : be_child(state, made, parent, pipeline);
    if (failed < 0 || begin(state, made, pipeline, given) < 0)
        Py_CLEAR(made);
    return (PyObject *)made;
}

static PyObject *start_root(State *state, PyObject *tracer, Pipeline *pipeline,
                            const Arguments *given) {
    if (pipeline->enabled == Py_False)
        return Py_NewRef(state->noop);
    if (pipeline->keep_all == Py_True)
        return start_recorded(state, tracer, pipeline, NULL, given);
    if (pipeline->keep_all != Py_False || taken_ahead(state, pipeline->unsampled) != 1)
        return NULL;
    return (PyObject *)new_passive(state->unsampled_root, tracer, given->name);
}

/* The pipeline of a tracer; NULL where one of both is no plain one. */
static Pipeline *plain_pipeline(State *state, PyObject *tracer) {
    if (tracer == NULL || (PyObject *)Py_TYPE(tracer) != state->tracer_class)
        return NULL;
    PyObject *pipeline = ((Tracer *)tracer)->pipeline;
    if (pipeline == NULL || (PyObject *)Py_TYPE(pipeline) != state->pipeline_class)
        return NULL;
    for (int i = 0; i < COUNT(Pipeline); i++)
        if (SLOTS(pipeline)[i] == NULL)
            return NULL;
    return (Pipeline *)pipeline;
}

/* A span below ``above``, which is current; NULL, perhaps with an exception, where it takes more. */
static PyObject *start_below(State *state, PyObject *tracer, Pipeline *pipeline, PyObject *above,
                             const Arguments *given) {
    if (above == state->empty)
        return start_root(state, tracer, pipeline, given);
    PyObject *class = (PyObject *)Py_TYPE(above);
    if (class == state->recorded_span && ((Recorded *)above)->tags != state->closed)
        return start_recorded(state, tracer, pipeline, (Recorded *)above, given);
    if (class == state->unsampled_root)
        return start_unsampled_child(state, tracer, pipeline, given->name, above);
    if (class == state->unsampled_child)
        return start_unsampled_child(state, tracer, pipeline, given->name,
                                     ((Passive *)above)->root);
    return NULL;
}

static PyObject *start_plain(State *state, PyObject *tracer, const Arguments *given) {
    Pipeline *pipeline = plain_pipeline(state, tracer);
    PyObject *above = pipeline == NULL ? NULL : get_current(state);
    if (above == NULL)
        return NULL;
    Py_INCREF(pipeline); /* what is called may replace it */
    PyObject *made = start_below(state, tracer, pipeline, above, given);
    Py_DECREF(pipeline);
    Py_DECREF(above);
    return made;
}

static PyObject *start_span(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames) {
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    Arguments given = {NULL};
    if (parsed(state, &given, args, nargs, kwnames)) {
        PyObject *made = start_plain(state, self, &given);
        if (made != NULL || PyErr_Occurred()) /* Python's function would pass it on as well */
            return made;
    }
    return refer(state->start_span, self, args, nargs, kwnames);
}

/* -- a recorded span ---------------------------------------------------------------------------- */

static int is_plain_value(PyObject *value) {
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value) ||
           PyFloat_CheckExact(value);
}

static PyObject *recorded_set_tag(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames) {
    PyObject *tags = ((Recorded *)self)->tags;
    /* A finished span has a subclass of dict there. */
    if (nargs == 2 && kwnames == NULL && tags != NULL && PyDict_CheckExact(tags) &&
        PyUnicode_CheckExact(args[0]) && is_plain_value(args[1])) {
        Py_INCREF(tags); /* comparing with a key of another type may run anything */
        int failed = PyDict_SetItem(tags, args[0], args[1]) < 0;
        Py_DECREF(tags);
        if (!failed)
            return Py_NewRef(self);
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return NULL;
        PyErr_Clear();
    }
    State *state = state_of(self);
    return state == NULL ? NULL : refer(state->recorded_set_tag, self, args, nargs, kwnames);
}

/* Closes the tags and hands the span over; 0 where it was finished before. */
static int finish_now(State *state, Recorded *span, Pipeline *pipeline) {
    PyObject *tags = span->tags, *old = span->kept;
    if (tags == state->closed)
        return 0;
    span->kept = tags; /* first: who sees the tags closed reads these */
    span->tags = Py_NewRef(state->closed);
    Py_XDECREF(old);
    /* What is called may replace any of these. */
    PyObject *emit = Py_NewRef(pipeline->emit), *start = Py_NewRef(span->start), *result = NULL;
    PyObject *end = call(pipeline->now, NULL);
    PyObject *duration = end == NULL ? NULL : PyNumber_Subtract(end, start);
    if (duration != NULL) {
        Py_XSETREF(span->duration_ns, duration);
        result = call(emit, (PyObject *)span);
    }
    Py_DECREF(emit);
    Py_DECREF(start);
    Py_XDECREF(end);
    Py_XDECREF(result);
    return result == NULL ? -1 : 1;
}

/* The pipeline of a span that may be finished here; NULL for others. */
static Pipeline *to_finish(State *state, Recorded *span) {
    return span->tags == NULL || span->start == NULL ? NULL
                                                     : plain_pipeline(state, span->span.tracer);
}

static PyObject *recorded_finish(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                 PyObject *kwnames) {
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    Pipeline *pipeline = to_finish(state, (Recorded *)self);
    if (pipeline == NULL || nargs > 0 || kwnames != NULL)
        return refer(state->recorded_finish, self, args, nargs, kwnames);
    if (finish_now(state, (Recorded *)self, pipeline) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *recorded_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                               PyObject *kwnames) {
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    Pipeline *pipeline = to_finish(state, (Recorded *)self);
    if (pipeline == NULL || nargs != 3 || kwnames != NULL || args[1] != Py_None)
        return refer(state->recorded_exit, self, args, nargs, kwnames);
    Py_INCREF(pipeline); /* what goes away with the token may replace it */
    int failed = left(state, (Span *)self) ? finish_now(state, (Recorded *)self, pipeline) < 0 : -1;
    Py_DECREF(pipeline);
    if (failed < 0)
        return refer(state->recorded_exit, self, args, nargs, kwnames);
    return failed ? NULL : Py_NewRef(Py_None);
}

/* -- the types ---------------------------------------------------------------------------------- */

#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL | METH_KEYWORDS
#define SET_TAG_DOC                                                                                \
    "($self, key, value)\n--\n\n"                                                                  \
    "Record ``value`` under ``key``; the last value wins. None records nothing."

static PyMethodDef span_methods[] = {
    {"__enter__", span_enter, METH_NOARGS, "__enter__($self)\n--\n\nMake the span current."},
    {"__exit__", FAST(span_exit),
     "__exit__($self, kind, exception, traceback)\n--\n\nMake current what was before."},
    {"set_tag", FAST(span_set_tag), "set_tag" SET_TAG_DOC},
    {"set_attribute", FAST(span_set_tag), "set_attribute" SET_TAG_DOC},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef recorded_methods[] = {
    {"__exit__", FAST(recorded_exit),
     "__exit__($self, kind, exception, traceback)\n--\n\nMake current what was before; finish."},
    {"set_tag", FAST(recorded_set_tag), "set_tag" SET_TAG_DOC},
    {"set_attribute", FAST(recorded_set_tag), "set_attribute" SET_TAG_DOC},
    {"finish", FAST(recorded_finish),
     "finish($self, end_ns=None)\n--\n\n"
     "End it, now or at ``end_ns`` (Unix, nanoseconds). Only the first call counts."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef tracer_methods[] = {
    {"start_span", FAST(start_span),
     "start_span($self, name, kind=0, parent=..., tags=None, links=None, start_ns=None)\n--\n\n"
     "Start a span, by default as a child of the current one.\n\n"
     ":param parent: a Span, a SpanContext, or None for a new root.\n"
     ":param links: SpanContexts or Spans, or pairs of one and its attributes.\n"
     ":param start_ns: Unix time in nanoseconds; now by default.\n\n"
     "The result is a context manager; used without ``with`` it must be finished by hand and is\n"
     "never current. Never raises."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef span_slots[] = {
    SLOT(Span, carried, "_carried"), SLOT(Span, prev, "_prev"), SLOT(Span, tracer, "_tracer"),
    SLOT(Span, name, "name"),        {NULL, 0, 0, 0, NULL},
};
static PyMemberDef passive_slots[] = {
    SLOT(Passive, known_span_id, "_known_span_id"),
    SLOT(Passive, known_trace_id, "_known_trace_id"),
    SLOT(Passive, root, "_root"),
    {NULL, 0, 0, 0, NULL},
};
static PyMemberDef recorded_slots[] = {
    SLOT(Recorded, extra, "_extra"),
    SLOT(Recorded, index, "_index"),
    SLOT(Recorded, kept, "_kept"),
    SLOT(Recorded, kids, "_kids"),
    SLOT(Recorded, offset, "_offset"),
    SLOT(Recorded, rpc, "_rpc"),
    SLOT(Recorded, sid, "_sid"),
    SLOT(Recorded, start, "_start"),
    SLOT(Recorded, tags, "_tags"),
    SLOT(Recorded, duration_ns, "duration_ns"),
    SLOT(Recorded, flags, "flags"),
    SLOT(Recorded, kind, "kind"),
    SLOT(Recorded, parent_id, "parent_id"),
    SLOT(Recorded, trace_id, "trace_id"),
    {NULL, 0, 0, 0, NULL},
};
static PyMemberDef tracer_slots[] = {
    SLOT(Tracer, pipeline, "pipeline"),
    SLOT(Tracer, scope, "scope"),
    SLOT(Tracer, scope_version, "scope_version"),
    {NULL, 0, 0, 0, NULL},
};
static PyMemberDef pipeline_slots[] = {
    SLOT(Pipeline, bits, "bits"),
    SLOT(Pipeline, clock, "clock"),
    SLOT(Pipeline, emit, "emit"),
    SLOT(Pipeline, enabled, "enabled"),
    SLOT(Pipeline, keep_all, "keep_all"),
    SLOT(Pipeline, now, "now"),
    SLOT(Pipeline, root_flags, "root_flags"),
    SLOT(Pipeline, started, "started"),
    SLOT(Pipeline, unsampled, "unsampled"),
    {NULL, 0, 0, 0, NULL},
};

#define TYPE(structure, members, methods)                                                          \
    static PyType_Slot structure##_type[] = {                                                      \
        {Py_tp_traverse, structure##_traverse}, {Py_tp_clear, structure##_clear},                  \
        {Py_tp_dealloc, structure##_dealloc},   {Py_tp_members, members},                          \
        {Py_tp_methods, methods},               {0, NULL},                                         \
    };                                                                                             \
    static PyType_Spec structure##_spec = {                                                        \
        "tracer._core." #structure "Slots", sizeof(structure), 0,                                  \
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, structure##_type}

static PyMethodDef no_methods[] = {{NULL, NULL, 0, NULL}};

TYPE(Span, span_slots, span_methods);
TYPE(Passive, passive_slots, no_methods);
TYPE(Recorded, recorded_slots, recorded_methods);
TYPE(Tracer, tracer_slots, tracer_methods);
TYPE(Pipeline, pipeline_slots, no_methods);

/* Name the slots as a class written in Python does: copying an object looks for them there. */
static int name_slots(PyObject *type, const PyMemberDef *members) {
    Py_ssize_t count = 0;
    while (members[count].name != NULL)
        count++;
    PyObject *names = PyTuple_New(count);
    for (Py_ssize_t i = 0; names != NULL && i < count; i++) {
        PyObject *name = PyUnicode_InternFromString(members[i].name);
        if (name == NULL)
            Py_CLEAR(names);
        else
            PyTuple_SET_ITEM(names, i, name);
    }
    int failed = names == NULL || PyObject_SetAttrString(type, "__slots__", names) < 0;
    Py_XDECREF(names);
    return failed ? -1 : 0;
}

/* Adds a type to the module and gives it, borrowed from there. */
static PyObject *add_type(PyObject *module, PyType_Spec *spec, PyMemberDef *members,
                          PyObject *base) {
    PyObject *type = PyType_FromModuleAndSpec(module, spec, base);
    if (type == NULL)
        return NULL;
    int failed = name_slots(type, members) < 0 || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    Py_DECREF(type);
    return failed ? NULL : type;
}

/* -- the module --------------------------------------------------------------------------------- */

static PyObject **provided(State *state, const char *key) {
#define X(field, name)                                                                             \
    if (strcmp(key, name) == 0)                                                                    \
        return &state->field;
    PROVIDED(X)
#undef X
    return NULL;
}

static PyObject *provide(PyObject *module, PyObject *args) {
    const char *key;
    PyObject *value;
    if (!PyArg_ParseTuple(args, "sO:provide", &key, &value))
        return NULL;
    PyObject **place = provided((State *)PyModule_GetState(module), key);
    if (place == NULL)
        return PyErr_Format(PyExc_KeyError, "nothing here is called %s", key);
    Py_XSETREF(*place, Py_NewRef(value));
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"provide", provide, METH_VARARGS,
     "provide($module, key, value)\n--\n\nTell the module of an object it needs."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    State *state = (State *)PyModule_GetState(module);
    /* Where nothing was provided stands None, which no comparison finds and no call accepts. */
#define X(field, key) state->field = Py_NewRef(Py_None);
    PROVIDED(X)
#undef X
#define X(word)                                                                                    \
    if ((state->word_##word = PyUnicode_InternFromString(#word)) == NULL)                          \
        return -1;
    WORDS(X)
#undef X
#define X(field, number)                                                                           \
    if ((state->field = PyLong_FromLong(number)) == NULL)                                          \
        return -1;
    NUMBERS(X)
#undef X
    if ((state->no_rpc = PyUnicode_InternFromString("0")) == NULL)
        return -1;
    PyObject *span = add_type(module, &Span_spec, span_slots, NULL);
    if (span == NULL || add_type(module, &Passive_spec, passive_slots, span) == NULL ||
        add_type(module, &Recorded_spec, recorded_slots, span) == NULL ||
        add_type(module, &Tracer_spec, tracer_slots, NULL) == NULL ||
        add_type(module, &Pipeline_spec, pipeline_slots, NULL) == NULL)
        return -1;
    return 0;
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    State *state = (State *)PyModule_GetState(module);
#define X(field, key) Py_VISIT(state->field);
    PROVIDED(X)
#undef X
    return 0;
}

/* Spans may outlive what was provided where an interpreter ends: they find None again. */
static int module_clear(PyObject *module) {
    State *state = (State *)PyModule_GetState(module);
#define X(field, key) Py_XSETREF(state->field, Py_NewRef(Py_None));
    PROVIDED(X)
#undef X
    return 0;
}

static void module_free(void *module) {
    State *state = (State *)PyModule_GetState((PyObject *)module);
#define X(field, key) Py_CLEAR(state->field);
    PROVIDED(X)
#undef X
#define X(word) Py_CLEAR(state->word_##word);
    WORDS(X)
#undef X
#define X(field, number) Py_CLEAR(state->field);
    NUMBERS(X)
#undef X
    Py_CLEAR(state->no_rpc);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "tracer._core",
    .m_doc = "The hottest path of the tracer, compiled; see tracer.core.",
    .m_size = sizeof(State),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&module_definition); }
