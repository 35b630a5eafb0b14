# tidegate_add_plugin(NAME SOURCES file... [LINK library...] [OUTPUT file_name] [NO_INSTALL])
#
#   Builds NAME.so, a Tidegate plugin: a module that exports tg_plugin_v1 alone, hides everything else, has no undefined
#   symbols, carries no SONAME, and installs into ${CMAKE_INSTALL_LIBDIR}/tidegate/plugins. OUTPUT names the file when the
#   target's name is taken. LINK: libraries of your own, linked hidden. C and C++ sources; C++20 unless the target asks for
#   more. The file's name is what a configuration's `plugin:` finds it by, so name it after its component.

include(GNUInstallDirs)

function(tidegate_add_plugin name)
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  cmake_parse_arguments(P "NO_INSTALL" "OUTPUT" "SOURCES;LINK" ${ARGN})
  if(NOT P_SOURCES OR P_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tidegate_add_plugin(${name}): wanted SOURCES file..., found '${ARGN}'")
  endif()
  if(NOT P_OUTPUT)
    set(P_OUTPUT ${name})
  endif()

  add_library(${name} MODULE ${P_SOURCES})
  target_link_libraries(${name} PRIVATE Tidegate::sdk ${P_LINK})
  target_compile_features(${name} PRIVATE cxx_std_20 c_std_99)
  set_target_properties(${name} PROPERTIES
    PREFIX "" SUFFIX ".so" OUTPUT_NAME ${P_OUTPUT} NO_SONAME ON
    C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/tidegate/plugins
    LINK_DEPENDS ${map})
  # A unique symbol is shared by all copies of a library: two builds of one plugin would share static data.
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-fno-gnu-unique>)
  target_link_options(${name} PRIVATE LINKER:--version-script=${map} LINKER:--as-needed)
  # A sanitized plugin takes its runtime's symbols from the program that loads it.
  if(NOT TIDEGATE_SANITIZE AND NOT "${CMAKE_C_FLAGS} ${CMAKE_CXX_FLAGS}" MATCHES "-fsanitize=")
    target_link_options(${name} PRIVATE LINKER:-z,defs)
  endif()
  if(NOT P_NO_INSTALL)
    install(TARGETS ${name} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/tidegate/plugins COMPONENT plugins)
  endif()
endfunction()
