/* The nine C functions that tensorrt_bindings' extension module needs to be imported without TensorRT. Eight do nothing;
 * the ninth returns a plugin registry that keeps creators. No NVIDIA header is used: the registry's virtual function
 * table and the few slots of a creator's table are laid out by hand, as in the Itanium C++ ABI. Compile with
 * -DTENSORRT_MAJOR=10 or 11: version 11 has dropped the functions for creators of version 2. */

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct {
    void **functions;
} Object;

typedef const char *(*Text)(const Object *);

/* Slots of a plugin creator: 0 and 1 interface, 2 and 3 destructors, 4 create, 5 fields. */
enum { NAME = 6, VERSION = 7, NAMESPACE = 8, MOST_CREATORS = 64 };

static Object *creators[MOST_CREATORS];
static int creator_count;

static const char *text(const Object *creator, int slot) { return ((Text)creator->functions[slot])(creator); }

static bool is_named(const Object *creator, const char *name, const char *version, const char *space) {
    return !strcmp(text(creator, NAME), name) && !strcmp(text(creator, VERSION), version) &&
           !strcmp(text(creator, NAMESPACE), space ? space : "");
}

static bool add_creator(Object *self, Object *creator, const char *space) {
    if (creator_count == MOST_CREATORS) return false;
    creators[creator_count++] = creator;
    return true;
}

static Object *find_creator(Object *self, const char *name, const char *version, const char *space) {
    for (int i = 0; i < creator_count; i++)
        if (is_named(creators[i], name, version, space)) return creators[i];
    return NULL;
}

static Object **all_creators(Object *self, int *count) {
    *count = creator_count;
    return creators;
}

static bool remove_creator(Object *self, Object *creator) {
    for (int i = 0; i < creator_count; i++)
        if (creators[i] == creator) {
            creators[i] = creators[--creator_count];
            return true;
        }
    return false;
}

static void nothing(void) {}
static void *null(void) { return NULL; }
static bool yes(void) { return true; }
static int zero(void) { return 0; }

static void *registry_functions[] = {
#if TENSORRT_MAJOR < 11
    nothing, null, null,             /* registerCreator, getPluginCreatorList, getPluginCreator */
#endif
    nothing, nothing,                /* destructors */
    nothing, null,                   /* setErrorRecorder, getErrorRecorder */
#if TENSORRT_MAJOR < 11
    nothing,                         /* deregisterCreator */
#endif
    yes, nothing,                    /* isParentSearchEnabled, setParentSearchEnabled */
    null, nothing,                   /* loadLibrary, deregisterLibrary */
    add_creator, all_creators,       /* registerCreator, getAllCreators */
    find_creator, remove_creator,    /* getCreator, deregisterCreator */
    null, zero,                      /* acquirePluginResource, releasePluginResource */
    all_creators,                    /* getAllCreatorsRecursive */
};
static Object registry = {registry_functions};

void *getPluginRegistry(void) { return &registry; }
void *getBuilderPluginRegistry(int capability) { return &registry; }
void *createInferBuilder_INTERNAL(void) { return NULL; }
void *createInferRefitter_INTERNAL(void) { return NULL; }
void *createInferRuntime_INTERNAL(void) { return NULL; }
void *createNvOnnxParser_INTERNAL(void) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
bool initLibNvInferPlugins(void *logger, const char *space) { return true; }
