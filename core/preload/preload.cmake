# libgridcentric-run.so, which `gc run` loads into programs that are not ours: links everything it needs. Beside gc, which finds it there.
add_library(gridcentric-run MODULE ${GC_SOURCES_preload})
target_include_directories(gridcentric-run PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_options(gridcentric-run PRIVATE -static-libstdc++ -static-libgcc -Wl,-z,now
  -Wl,--version-script=${CMAKE_CURRENT_SOURCE_DIR}/core/preload/exports.map)
set_target_properties(gridcentric-run PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/core/preload/exports.map)
target_link_libraries(gridcentric-run PRIVATE gridcentric_static gc_warnings)
install(TARGETS gridcentric-run LIBRARY DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT gridcentric)
add_dependencies(gc gridcentric-run)
