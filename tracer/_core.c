/* The hottest path of the tracer, compiled: what tracer/span.py, passive.py and tracer.py do in the
 * plain case. Whatever is not plain is handed to the Python function of the same name with the same
 * arguments, so each rule is written once, in Python. tracer/core.py says when this is used; with
 * the interpreter lock only, for what lies between two calls must not be interrupted.
 *
 * The types here are bases of the Python classes and hold their slots, under the same names. Slots
 * are all objects, so that one function can visit, clear and free them. */

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
    PyObject_HEAD
    PyObject *pipeline, *scope, *scope_version;
} Tracer;

typedef struct {
    PyObject_HEAD
    PyObject *enabled, *keep_all, *unsampled;
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
COLLECTED(Tracer)
COLLECTED(Pipeline)

/* -- what Python has told this module ----------------------------------------------------------- */

/* X(name here, key of provide()) */
#define PROVIDED(X)                                                                                \
    X(variable, "variable")           /* the ContextVar of tracer/current.py */                    \
    X(empty, "empty")                 /* what it holds where nothing is current */                 \
    X(current, "CURRENT")             /* the default of ``parent`` */                              \
    X(pipeline_class, "Pipeline")                                                                  \
    X(unsampled_root, "UnsampledRoot")                                                             \
    X(unsampled_child, "UnsampledChild")                                                           \
    X(noop, "NOOP")                   /* the span of a tracer that is off */                       \
    X(start_span, "Tracer.start_span") /* from here on: the reference functions */                 \
    X(span_enter, "Span.__enter__")                                                                \
    X(span_exit, "Span.__exit__")                                                                  \
    X(span_set_tag, "Span.set_tag")

/* X(name here, text) */
#define WORDS(X) X(ahead) X(value) X(kind) X(tags) X(links) X(start_ns)

typedef struct {
#define X(field, key) PyObject *field;
    PROVIDED(X)
#undef X
#define X(word) PyObject *word_##word;
    WORDS(X)
#undef X
    PyObject *one;
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

/* Whether a start is below what is current, whatever else is asked for; name first. A call that
 * Python would refuse is not. */
static int is_below_current(State *state, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames) {
    if (nargs < 1 || nargs > 6 || (nargs > 2 && args[2] != state->current))
        return 0;
    if (kwnames == NULL)
        return 1;
    PyObject *known[] = {state->word_kind, NULL, state->word_tags, state->word_links,
                         state->word_start_ns};
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        Py_ssize_t at = nargs - 1; /* one that was given by position already is refused */
        while (at < 5 && known[at] != PyTuple_GET_ITEM(kwnames, i))
            at++;
        if (at >= 5)
            return 0;
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
    if (number <= 0)
        return number == 0 ? 0 : -1;
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

static PyObject *start_root(State *state, PyObject *tracer, Pipeline *pipeline, PyObject *name) {
    if (pipeline->enabled == Py_False)
        return Py_NewRef(state->noop);
    if (pipeline->keep_all != Py_False || taken_ahead(state, pipeline->unsampled) != 1)
        return NULL;
    return (PyObject *)new_passive(state->unsampled_root, tracer, name);
}

static PyObject *start_child(State *state, PyObject *tracer, Pipeline *pipeline, PyObject *name,
                            PyObject *root) {
    Passive *made = new_passive(state->unsampled_child, tracer, name);
    if (made == NULL)
        return NULL;
    made->root = Py_XNewRef(root);
    if (root == NULL || count_one(state, pipeline->unsampled) < 0)
        Py_CLEAR(made);
    return (PyObject *)made;
}

/* A span below ``above``, which is current; NULL, perhaps with an exception, where it takes more. */
static PyObject *start_plain(State *state, PyObject *tracer, PyObject *above, PyObject *name) {
    Pipeline *pipeline = (Pipeline *)((Tracer *)tracer)->pipeline;
    if (pipeline == NULL || (PyObject *)Py_TYPE(pipeline) != state->pipeline_class ||
        pipeline->unsampled == NULL)
        return NULL;
    if (above == state->empty)
        return start_root(state, tracer, pipeline, name);
    PyObject *class = (PyObject *)Py_TYPE(above);
    if (class == state->unsampled_root)
        return start_child(state, tracer, pipeline, name, above);
    if (class == state->unsampled_child)
        return start_child(state, tracer, pipeline, name, ((Passive *)above)->root);
    return NULL;
}

static PyObject *start_span(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames) {
    State *state = state_of(self);
    if (state == NULL)
        return NULL;
    if (is_below_current(state, args, nargs, kwnames)) {
        PyObject *above = get_current(state);
        PyObject *made = above == NULL ? NULL : start_plain(state, self, above, args[0]);
        Py_XDECREF(above);
        if (made != NULL)
            return made;
        PyErr_Clear();
    }
    return refer(state->start_span, self, args, nargs, kwnames);
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
static PyMemberDef tracer_slots[] = {
    SLOT(Tracer, pipeline, "pipeline"),
    SLOT(Tracer, scope, "scope"),
    SLOT(Tracer, scope_version, "scope_version"),
    {NULL, 0, 0, 0, NULL},
};
static PyMemberDef pipeline_slots[] = {
    SLOT(Pipeline, enabled, "enabled"),
    SLOT(Pipeline, keep_all, "keep_all"),
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
    if ((state->one = PyLong_FromLong(1)) == NULL)
        return -1;
    PyObject *span = add_type(module, &Span_spec, span_slots, NULL);
    if (span == NULL || add_type(module, &Passive_spec, passive_slots, span) == NULL ||
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
    Py_CLEAR(state->one);
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
